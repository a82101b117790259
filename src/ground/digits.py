"""Numbers with 9 significant digits, as files hold them: rounded, and written as rows of CSV.

N rows, C numbers in each.
"""

import io
import math
from collections.abc import Iterable, Sequence
from typing import IO

import numpy as np

from src.ground.files import start_csv

DIGITS = 9
POWERS = np.array([float(f"1e{exponent}") for exponent in range(23)])  # the powers of 10 that are exact
SMALLEST = np.floor(math.log10(2) * (np.arange(2048) - 1023)).astype(int)  # decimal exponents by binary ones
PLACES = np.clip(DIGITS - 1 - SMALLEST, 0, 22)  # by which such a number is shifted to DIGITS digits
CHUNK = 2**13  # numbers that are rounded at once: they stay in the cache, and malloc keeps their memory


def round_digits(numbers: np.ndarray) -> np.ndarray:
    """The numbers with DIGITS significant digits: to the last bit what `float(f"{number:.9g}")` gives."""
    rounded = np.empty(numbers.shape)
    flat, out = numbers.reshape(-1), rounded.reshape(-1)
    for start in range(0, flat.size, CHUNK):
        part = slice(start, start + CHUNK)
        out[part] = round_chunk(flat[part].astype(np.float64))
    return rounded


def round_chunk(numbers: np.ndarray) -> np.ndarray:
    """Shifted by an exact power of 10 to whole numbers of DIGITS digits, and back by one division.

    A division of exact numbers is rounded once, as a number read from text is. Left to Python are numbers
    near the middle of two neighbours, whose shift may have moved them across it, those that are rounded up to
    a power of 10, and those out of reach of POWERS: negative, huge, below 1e-14, NaN.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        places = PLACES[(numbers.view(np.int64) >> 52) & 0x7FF]  # by the bits of the binary exponent
        places -= numbers * POWERS[places] >= 10**DIGITS
        power = POWERS[places]
        shifted = numbers * power
        whole = np.rint(shifted)
        near_middle = np.abs(np.abs(shifted - whole) - 0.5) < 1e-6
    rounded = whole / power
    in_reach = (whole >= 10 ** (DIGITS - 1)) & (whole < 10**DIGITS)
    sure = (in_reach & ~near_middle) | (numbers == 0)
    rounded[~sure] = [float(f"{number:.{DIGITS}g}") for number in numbers[~sure].tolist()]
    return rounded


def write_rows(file: IO[str], heads: Iterable[Sequence[str]], numbers: Iterable[np.ndarray]) -> None:
    """Write N rows of CSV: the texts of `heads`, then the numbers (C,), with DIGITS significant digits."""
    for head, row in zip(heads, numbers, strict=True):
        values = row.tolist()
        file.write(f"{join_texts(head)},{','.join([f'%.{DIGITS}g'] * len(values)) % tuple(values)}\n")


def join_texts(texts: Sequence[str]) -> str:
    """The texts as a row of CSV, without its end."""
    row = io.StringIO()
    start_csv(row).writerow(texts)
    return row.getvalue().removesuffix("\n")
