"""Messages of errors: one line each and short, however much a user's file holds."""

import errno
import signal
import subprocess
import sys

import pytest
from conftest import ROOT, edit_params

from src.ground.errors import LONGEST, UserError, keep_ends, list_some, spell_cause
from src.ground.params import read, read_params
from src.networks.checkpoint import spell_difference
from src.teaching.teachers import KnowledgeSettings

NAMES = [f"class_{number:04d}" for number in range(1000)]


def test_a_long_line_keeps_its_beginning_and_the_remedy():
    line = f"x.csv: {', '.join(NAMES)} (remove the file)"
    (text,) = str(UserError(line)).splitlines()
    assert (
        len(text) == LONGEST
        and text.startswith("x.csv: class_0000, ")
        and text.endswith(" (remove the file)")
    )
    assert str(UserError("x" * LONGEST)) == "x" * LONGEST and len(keep_ends("y" * 70, 50)) == 50


def test_lists_of_names_are_cut():
    assert list_some(NAMES) == "class_0000, class_0001, class_0002, class_0003, class_0004, ..."
    assert list_some(["a", "b"]) == "a, b" and list_some([]) == ""
    assert len(list_some(["x" * 255] * 9)) < 300


def test_other_classes_are_named_by_their_difference():
    assert spell_difference(["a", "b"], ["a", "c"]) == "2 classes, the data has 2: it lacks b, only it has c"
    assert spell_difference(["a", "b"], ["b", "a"]) == "the same 2 classes in another order than the data's"
    assert len(spell_difference(NAMES, NAMES[500:] + ["x"])) < 150


def test_a_wrong_value_of_a_thousand_classes_is_cut(place):
    edit_params(place, student__class_weights=dict.fromkeys(NAMES, -1.0))
    with pytest.raises(UserError) as error:
        read_params()
    (text,) = str(error.value).splitlines()
    assert (
        len(text) < 250
        and "must be none, balanced, or a weight in [0, 1e6] per class, got {'class_0000" in text
    )


@pytest.mark.parametrize(
    "name",
    ["student", "a.b", "a/b", "..", "", "big\n", "--debug", "-x", "x" * 201, "external_distill_a", "\u00fc"],
)
def test_a_teacher_whose_files_would_be_in_the_way_is_refused(place, name):
    """Beside the student's figures, outside the folder, as an option of its stage, of external knowledge."""
    edit_params(place, knowledge__teachers=[name])
    with pytest.raises(
        UserError, match=r"knowledge.teachers(\.0)?: (must be at most 200 letters|no entry)"
    ) as error:
        read(KnowledgeSettings, "knowledge")
    assert "must be at most 200 letters, digits, _ or -, not student, nor begin" in str(error.value)


@pytest.mark.parametrize("key, value", [("loss", "ohm\n"), ("student__pretrained_sha256", "any\n")])
def test_a_line_end_after_a_word_is_refused(place, key, value):
    edit_params(place, **{key: value})
    with pytest.raises(UserError, match=f"params.yaml: {key.replace('__', '.')}: must be "):
        read_params()


@pytest.mark.parametrize("content", [b"[]", b"{}", b"5", b"", b"<<<<<<< HEAD\n{}"])
def test_a_broken_schema_is_one_line(place, content):
    (place / "params.schema.json").unlink()
    (place / "params.schema.json").write_bytes(content)
    with pytest.raises(UserError, match=r"^params.schema.json: not .*\(make schema writes it\)$"):
        read_params()


def test_a_folder_in_place_of_a_file_is_named_as_such(tmp_path):
    with pytest.raises(IsADirectoryError) as error:
        tmp_path.read_bytes()
    assert spell_cause(error.value) == "a folder, not a file (rename or remove it)"


def test_what_may_not_be_read_has_another_remedy_than_a_full_disk():
    full, closed = OSError(errno.ENOSPC, "No space left on device"), PermissionError(errno.EACCES, "No")
    assert spell_cause(full) == "No space left on device (free some space there or make it writable)"
    assert spell_cause(closed).startswith("No (make it and the folders that hold it readable; ")


def test_ctrl_c_while_modules_are_imported_is_one_line():
    """A module that the stage imports sends the signal in place of a user."""
    code = (
        "import os, runpy, signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it\n"
        "class Finder:\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'numpy':\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Finder())\n"
        "runpy.run_module('stages.check_images', run_name='__main__')\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert ended.stderr == "error: stopped by Ctrl-C (run the same command to start again)\n"
    assert ended.returncode == -signal.SIGINT
