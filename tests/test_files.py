"""Files are complete or missing; errors are one line and an exit code."""

import errno
import subprocess
import sys

import pytest

from src.ground.errors import UserError, run
from src.ground.files import open_atomically, read_json, sha256_of, write_json


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
        (KeyboardInterrupt(), "error: stopped by Ctrl-C (run the same command to start again)\n", 130),
    ],
)  # fmt: skip
def test_an_error_that_a_user_can_fix_is_one_line(error, line, code, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["x"])
    monkeypatch.delenv("DVC_STAGE", raising=False)
    with pytest.raises(SystemExit) as ended:
        run(make_main(error))
    assert ended.value.code == code and capsys.readouterr().err.startswith(line)


def test_a_failed_stage_says_how_to_restore_its_outputs(capsys, monkeypatch):
    monkeypatch.setenv("DVC_STAGE", "evaluate")
    with pytest.raises(SystemExit):
        run(make_main(UserError("a: wrong (fix it)")))
    hint = "; to restore the previous outputs: git checkout metrics plots && dvc checkout\n"
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
