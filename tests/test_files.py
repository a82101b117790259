"""Files are complete or missing; errors are one line and an exit code."""

import errno
import os
import runpy
import subprocess
import sys

import pytest
from conftest import ROOT

from src.ground.errors import UserError, run
from src.ground.files import open_atomically, read_json, sha256_of, write_json
from src.ground.params import read_params
from src.teaching.teachers import choose_teacher


def test_an_error_keeps_the_old_file(tmp_path):
    path = tmp_path / "deep" / "x.json"
    write_json(path, {"a": 1})
    with pytest.raises(RuntimeError), open_atomically(path) as file:
        file.write("half")
        raise RuntimeError
    assert read_json(path) == {"a": 1} and list(path.parent.iterdir()) == [path]


def test_an_error_of_a_full_disk_names_the_file(tmp_path):
    with pytest.raises(OSError) as error, open_atomically(tmp_path / "x") as file:
        file.write("half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert error.value.filename == str(tmp_path / "x")


def test_an_error_in_place_of_a_folder_names_it(tmp_path):
    """Not the unfinished file, which is gone by then."""
    (tmp_path / "x").mkdir()
    with pytest.raises(IsADirectoryError) as error:
        write_json(tmp_path / "x", {})
    assert error.value.filename == str(tmp_path / "x") and list(tmp_path.iterdir()) == [tmp_path / "x"]


def test_hash_ignores_the_order_of_keys():
    assert sha256_of({"a": 1, "b": 2}) == sha256_of({"b": 2, "a": 1}) != sha256_of({"a": 1, "b": 3})


def make_main(error):
    def main():
        raise error

    return main


@pytest.mark.parametrize(
    "error, line, code",
    [
        (UserError("a: wrong", "b: wrong\ntoo"), "error: a: wrong\nerror: b: wrong\\ntoo\n", 1),
        (UserError("a\r\x1b[m\x85\u2028\u732b: wrong"), "error: a\\r\\x1b[m\\x85\\u2028\u732b: wrong\n", 1),
        (OSError(errno.ENOSPC, "No space left on device", "x"), "error: x: No space left on device (", 1),
        (FileNotFoundError(errno.ENOENT, "No such file", "x"), "error: x: not found (make repro creates ", 1),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "x"), "error: x: Not a directory (--debug", 1),
        (OSError(errno.EIO, "Input/output error", "x"), "error: x: Input/output error (--debug", 1),
        (BrokenPipeError(), "error: stdout: closed by whom it was piped to (run it without)\n", 1),
        (MemoryError("Unable to allocate 9 GiB"), "error: out of memory: Unable to allocate 9 GiB (", 1),
        (MemoryError(), "error: out of memory (smaller batches or a larger machine)\n", 1),
        (KeyboardInterrupt(), "error: stopped by Ctrl-C (run the same command to start again)\n", 130),
    ],
)  # fmt: skip
def test_an_error_that_a_user_can_fix_is_one_line(error, line, code, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["x"])
    monkeypatch.delenv("DVC_STAGE", raising=False)
    with pytest.raises(SystemExit) as ended:
        run(make_main(error))
    assert ended.value.code == code and capsys.readouterr().err.startswith(line)


def test_a_file_that_is_no_json_is_named(tmp_path):
    for content in (b"{", b"\xff", b"", b"[" * 100_000):
        (tmp_path / "x.json").write_bytes(content)
        with pytest.raises(UserError, match=r"x.json: not JSON: .* \(git checkout or dvc"):
            read_json(tmp_path / "x.json")


STAGES = sorted(path.stem for path in (ROOT / "stages").glob("[a-z]*.py"))


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("arguments", [["--nonsense"], ["x", "y"]])
def test_a_stage_refuses_arguments_that_it_does_not_take(stage, arguments, place, capsys, monkeypatch):
    """Before it reads or writes anything."""
    monkeypatch.setattr("sys.argv", [f"{stage}.py", *arguments])
    monkeypatch.delitem(sys.modules, f"stages.{stage}", raising=False)
    monkeypatch.delenv("DVC_STAGE", raising=False)
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(f"stages.{stage}", run_name="__main__")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and stage in line and arguments[0] in line and ended.value.code == 1
    assert sorted(path.name for path in place.iterdir()) == ["params.schema.json", "params.yaml"]


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_tells_what_it_does(stage, place, capsys, monkeypatch):
    if stage in ("train_teacher", "train_fold", "check_unlabelled"):
        pytest.skip("takes a name")
    monkeypatch.setattr("sys.argv", [f"{stage}.py", "--help"])
    monkeypatch.delitem(sys.modules, f"stages.{stage}", raising=False)
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(f"stages.{stage}", run_name="__main__")
    assert ended.value.code == 0 and f"python -m stages.{stage}" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["bigg"], ["big", "second"], ["big.augment"], [""], ["--help"]])
def test_a_teacher_is_trained_by_name(place, arguments):
    with pytest.raises(UserError) as error:
        choose_teacher(arguments)
    given = " ".join(arguments) or "nothing"
    needs = "train_teacher: needs the name of one teacher"
    assert str(error.value) == f"{needs}, got {given!r} (params.yaml has big, second)"
    assert choose_teacher(["second"]) == "second"


def test_params_that_cannot_be_read_are_named(place, monkeypatch):
    (place / "params.schema.json").write_text("{")
    with pytest.raises(UserError, match="^params.schema.json: not JSON: .* \\(make schema writes it\\)$"):
        read_params()
    (place / "params.schema.json").unlink()
    with pytest.raises(UserError, match="^params.schema.json: No such file or directory"):
        read_params()
    (place / "params.yaml").unlink()
    (place / "params.yaml").mkdir()
    with pytest.raises(UserError, match="^params.yaml: Is a directory"):
        read_params()


def test_many_problems_are_cut(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["x"])
    monkeypatch.delenv("DVC_STAGE", raising=False)
    for number, printed in ((20, 20), (500, 20)):
        with pytest.raises(SystemExit):
            run(make_main(UserError(*(f"{one}: wrong" for one in range(number)))))
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == printed and lines[0] == "error: 0: wrong"
    assert lines[-1] == "error: 481 more problems, like these"


def test_a_failed_stage_says_how_to_restore_its_outputs(capsys, monkeypatch):
    monkeypatch.setenv("DVC_STAGE", "evaluate")
    with pytest.raises(SystemExit):
        run(make_main(UserError("a: wrong (fix it)")))
    hint = "; to restore the last commit's outputs: git checkout dvc.lock metrics plots && dvc checkout -f\n"
    assert capsys.readouterr().err == f"error: a: wrong (fix it){hint}"


def test_bugs_keep_their_traceback(monkeypatch):
    monkeypatch.setattr("sys.argv", ["x"])
    with pytest.raises(ZeroDivisionError):
        run(make_main(ZeroDivisionError()))
    monkeypatch.setattr("sys.argv", ["x", "--debug"])
    with pytest.raises(UserError):
        run(make_main(UserError("a: wrong")))


def test_another_interpreter_is_pointed_to_the_venv(tmp_path):
    """-S and -I hide the installed packages."""
    code = "import sys; sys.path.insert(0, '.'); import stages"
    result = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False
    )
    assert result.returncode == 1 and "Dojo's packages are not found" in result.stderr


def test_two_processes_that_write_one_path_both_succeed(tmp_path, monkeypatch):
    """The last one wins; neither takes the other's unfinished file."""
    path = tmp_path / "table[1].csv"
    with open_atomically(path) as one:
        one.write("one")
        with monkeypatch.context() as patch:
            patch.setattr(os, "getpid", lambda: os.getppid())  # as another process that is alive
            with open_atomically(path) as other:
                other.write("other")
        assert path.read_text() == "other"
    assert path.read_text() == "one" and list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_left_is_removed(tmp_path):
    with subprocess.Popen(["true"]) as gone:
        gone.wait()
    (tmp_path / f".a.csv.{gone.pid}.tmp").write_text("half")
    (tmp_path / f".a.csv.{os.getppid()}.tmp").write_text("somebody is writing it")
    (tmp_path / f".b.csv.{gone.pid}.tmp").write_text("another path")
    with open_atomically(tmp_path / "a.csv") as file:
        file.write("whole")
    left = {f".a.csv.{os.getppid()}.tmp", f".b.csv.{gone.pid}.tmp", "a.csv"}
    assert {path.name for path in tmp_path.iterdir()} == left
