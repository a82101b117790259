"""What C libraries print is caught and attributed."""

import os

import pytest

from src.machine.stderr import MOST, catch_stderr


@pytest.mark.parametrize("in_memory", [True, False])
def test_lines_that_are_printed_are_caught_once_each_and_no_further(monkeypatch, capfd, in_memory):
    if not in_memory:
        monkeypatch.delattr(os, "memfd_create", raising=False)
    opened = os.listdir("/dev/fd")
    for number in range(3):
        with catch_stderr() as outer:
            os.write(2, b"odd tag\n")
            with catch_stderr() as inner:
                os.write(2, b"of page %d\n\n of page %d\xff\n" % (number, number))
            os.write(2, b"odd tag\nlast")
        assert (outer, inner) == (["odd tag", "last"], [f"of page {number}", f"of page {number}\ufffd"])
    with catch_stderr() as lines:
        pass
    assert lines == []
    with catch_stderr() as lines:
        os.write(2, b"x" * 2 * MOST)
    assert lines == ["x" * MOST]
    assert os.listdir("/dev/fd") == opened and capfd.readouterr().err == ""
