"""A team and its remote: a colleague clones, pulls and reruns what changed; a remote may refuse. Slow."""

import json
from urllib.request import Request, urlopen

import pytest
from conftest import UP_TO_DATE, Project, edit_params, list_stages

pytestmark = pytest.mark.slow

CACHED = "is cached - skipping run, checking out outputs"
BUCKET = "dojo"
MISSING = "an optional package (pip install -r requirements-remote.txt, or make remote-test)"


class S3:
    """moto's S3 server on loopback: its address, and the user whose keys it takes."""

    def __init__(self, server):
        import boto3

        host, port = server.get_host_and_port()
        self.address = f"http://{host}:{port}"
        self.call("reset")
        anyone = {"aws_access_key_id": "any", "aws_secret_access_key": "any", "region_name": "us-east-1"}
        boto3.client("s3", endpoint_url=self.address, **anyone).create_bucket(Bucket=BUCKET)
        users = boto3.client("iam", endpoint_url=self.address, **anyone)
        users.create_user(UserName="team")
        allowed = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": allowed})
        users.put_user_policy(UserName="team", PolicyName="s3", PolicyDocument=policy)
        made = users.create_access_key(UserName="team")["AccessKey"]
        self.keys = {
            "AWS_ACCESS_KEY_ID": made["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": made["SecretAccessKey"],
        }
        self.call("reset-auth", "0")  # from now on, keys are checked

    def call(self, name, body=""):
        """Call moto's own interface."""
        plain = {"Content-Type": "text/plain"}
        urlopen(Request(f"{self.address}/moto-api/{name}", body.encode(), plain, method="POST")).close()


@pytest.fixture
def s3(monkeypatch, tmp_path):
    """A server with one bucket, whose keys are in the environment."""
    pytest.importorskip("dvc_s3", reason=f"dvc-s3 is not installed, {MISSING}")
    moto = pytest.importorskip("moto.server", reason=f"moto is not installed, {MISSING}")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    started = S3(server)
    for name, value in started.keys.items():
        monkeypatch.setenv(name, value)
    yield started
    started.call("reset-auth", "inf")
    server.stop()


@pytest.fixture(params=["folder", "s3"])
def remote(request, tmp_path):
    """The words after `dvc remote add team` and its options: a folder that all see, or a bucket."""
    if request.param == "folder":
        return str(tmp_path / "remote"), {}
    return f"s3://{BUCKET}/cache", {"endpointurl": request.getfixturevalue("s3").address}


def add_remote(project, url, options, *words):
    project.run("dvc", "remote", "add", *words, "team", url)
    for key, value in options.items():
        project.run("dvc", "remote", "modify", *(set(words) & {"--local"}), "team", key, value)


def clone(hub, folder, pictures):
    """A colleague's clone; its pictures are in the same place."""
    Project.at(folder.parent).run("git", "clone", "-q", str(hub), str(folder))
    return Project.at(folder, pictures)


def test_a_team_shares_results_and_reruns_only_what_changed(copy, remote, tmp_path):
    """As docs/teams.md says it: one pushes, a colleague and a CI job clone, pull and go on from there."""
    hub, weights = tmp_path / "hub.git", "data/models/student.safetensors"
    copy.run("git", "init", "-q", "--bare", str(hub))
    copy.run("git", "remote", "add", "origin", str(hub))
    add_remote(copy, *remote, "--default")
    copy.commit("a remote")
    copy.run("git", "push", "-q", "origin", "HEAD")
    assert "files pushed" in copy.run("dvc", "push")

    colleague = clone(hub, tmp_path / "colleague", copy.pictures)
    assert not (colleague.folder / weights).exists()
    colleague.run("dvc", "pull")
    assert (colleague.folder / weights).read_bytes() == (copy.folder / weights).read_bytes()
    assert colleague.results() == copy.results()
    assert UP_TO_DATE in colleague.run("dvc", "repro")
    assert colleague.run("git", "status", "--porcelain") == ""
    assert list_stages(colleague.run("dvc", "exp", "run", "-S", "report.thumbnail=64")) == ["report"]
    colleague.run("git", "checkout", "-q", ".")

    student = ["train_student", "evaluate", "export_jit", "report"]
    output = colleague.run("dvc", "exp", "run", "-n", "hard", "-S", "loss=ohm")
    assert list_stages(output) == student
    assert "Pushed experiment hard" in colleague.run("dvc", "exp", "push", "origin", "hard")
    assert "hard" in copy.run("dvc", "exp", "list", "origin")
    copy.run("dvc", "exp", "pull", "origin", "hard")
    copy.run("dvc", "exp", "apply", "hard")
    assert copy.results() == colleague.results()
    assert (copy.folder / weights).read_bytes() == (colleague.folder / weights).read_bytes()

    job = clone(hub, tmp_path / "job", copy.pictures)  # in CI, of a change that a colleague tried before
    job.run("dvc", "config", "--local", "cache.dir", str(colleague.folder / ".dvc/cache"))
    job.run("dvc", "pull")
    edit_params(job.folder, loss="ohm")
    output = job.run("dvc", "repro")
    assert list_stages(output) == [] and output.count(CACHED) == len(student)
    assert job.results() == colleague.results()


REFUSED = {
    "no keys": "Unable to locate credentials",
    "wrong keys": "Forbidden",
    "no bucket": "The specified bucket does not exist",
    "nobody there": 'Could not connect to the endpoint URL: "http://127.0.0.1:9/',
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_remote_that_refuses_is_one_line_and_nothing_is_lost(copy, s3, kind, monkeypatch):
    """As DVC says it; results and cache stay as they were, for the next try."""
    for name in s3.keys if kind == "no keys" else ():
        monkeypatch.delenv(name)
    if kind == "wrong keys":
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    address = "http://127.0.0.1:9" if kind == "nobody there" else s3.address
    bucket = "elsewhere" if kind == "no bucket" else BUCKET
    add_remote(copy, f"s3://{bucket}/cache", {"endpointurl": address}, "--default")
    before, cached = copy.results(), {*(copy.folder / ".dvc/cache").rglob("*")}
    output = copy.run("dvc", "push", code=255)
    errors = [line for line in output.splitlines() if line.startswith("ERROR: ")]
    assert len(errors) == 1 and REFUSED[kind] in errors[0] and "Traceback" not in output
    assert copy.results() == before and {*(copy.folder / ".dvc/cache").rglob("*")} == cached
