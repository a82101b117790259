"""Large arrays in parts, so that what is computed from them needs bounded memory."""

from collections.abc import Iterator


def list_chunks(count: int, width: int, most: int = 2**19) -> Iterator[slice]:
    """`count` rows of `width` numbers in parts of at most `most` numbers, but at least one row."""
    step = max(1, most // max(1, width))
    return (slice(start, min(start + step, count)) for start in range(0, count, step))
