"""Nine significant digits: the same numbers and texts as Python's own formatting, and rows in parts."""

import csv
import io

import numpy as np
import pytest

from src.ground.chunks import list_chunks
from src.ground.digits import round_digits, write_rows

GENERATOR = np.random.default_rng(0)
NEAR = 10.0 ** -np.arange(320.0)
TIES = (GENERATOR.integers(10**8, 10**9, 3000) * 10 + 5) / 10.0 ** GENERATOR.integers(10, 23, 3000)
SETS = {
    "uniform": GENERATOR.random(20_000),
    "of every size": 10.0 ** GENERATOR.uniform(-330, 0, 20_000),
    "probabilities": GENERATOR.dirichlet(np.full(100, 0.1), 200),
    "ties": np.concatenate([TIES, np.nextafter(TIES, 0), np.nextafter(TIES, 1)]),
    "powers of ten": np.concatenate([NEAR, np.nextafter(NEAR, 0), np.nextafter(NEAR, 1)]),
    "nearly one": 1 - 10.0 ** GENERATOR.uniform(-17, -1, 5000),
    "subnormal": GENERATOR.integers(0, 2**52, 2000).view(np.float64),
    "others": np.array([0.0, -0.0, 1.0, -0.5, 2.0, 123456789012.0, 1e300, np.inf, 0.9999999995, 5e-324]),
}


@pytest.mark.parametrize("numbers", SETS.values(), ids=SETS)
def test_rounding_is_that_of_python_to_the_last_bit(numbers):
    expected = np.array([float(f"{number:.9g}") for number in numbers.flatten().tolist()])
    rounded = round_digits(numbers)
    assert rounded.shape == numbers.shape
    assert np.array_equal(rounded.reshape(-1).view(np.int64), expected.view(np.int64))


def test_rounding_keeps_what_is_no_number():
    assert np.isnan(round_digits(np.array([np.nan, 0.5]))).tolist() == [True, False]


def test_rows_are_written_as_csv_writes_them():
    """Names with every special character, against csv.writer and f-strings."""
    heads = [("a,b", "c"), ('q"', "\u732b"), ("line\nbreak", "\r"), ("", " ")]
    numbers = np.concatenate([GENERATOR.dirichlet(np.ones(5), 3), np.eye(5)[:1]])
    ours, reference = io.StringIO(newline=""), io.StringIO(newline="")
    write_rows(ours, heads, numbers)
    writer = csv.writer(reference, lineterminator="\r\n")
    writer.writerows([*head, *(f"{p:.9g}" for p in row)] for head, row in zip(heads, numbers, strict=True))
    rows = list(csv.reader(io.StringIO(reference.getvalue(), newline="")))
    assert list(csv.reader(io.StringIO(ours.getvalue(), newline=""))) == rows
    assert ours.getvalue().count("\r") == 1  # in the name


def test_as_many_rows_as_names():
    with pytest.raises(ValueError, match="longer"):
        write_rows(io.StringIO(), [("a",)], np.eye(2))


@pytest.mark.parametrize("count, width, most", [(0, 3, 10), (1, 100, 10), (10, 3, 10), (7, 2, 4), (5, 0, 10)])
def test_chunks_cover_every_row_once(count, width, most):
    parts = list(list_chunks(count, width, most))
    assert [row for part in parts for row in range(count)[part]] == list(range(count))
    assert all(1 <= part.stop - part.start <= max(1, most // max(1, width)) for part in parts)
