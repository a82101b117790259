"""Seeding from several numbers at once."""

from collections.abc import Callable, Sequence

import numpy as np
import torch

POOL = 4  # words of 32 bits
FIRST, FIRST_FACTOR = 0x43B0D7E5, 0x931E8875  # of the hash that fills the pool
LAST, LAST_FACTOR = 0x8B51F9DD, 0x58F38DED  # of the hash of the result
LEFT, RIGHT = 0xCA01F9DD, 0x4973F715  # of mixing


def seed_generators(device: torch.device, *key: int) -> None:
    """Seed torch's generators for the CPU and for `device` from several numbers.

    torch.manual_seed would take 0.4 ms: on every call it formats a traceback for CUDA, and keeps it.
    """
    seed = int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0])
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


def derive_seeds(seed: int, epoch: int, numbers: Sequence[int]) -> list[int]:
    """For each of `numbers` (n,) the low 32 bits of what seed_generators makes of (seed, epoch, number).

    Torch's CPU generator heeds no more of them. This is numpy's SeedSequence of three numbers below 2^32
    (M. E. O'Neill's seed_seq_fe, 2015) for many at once: one by one they take as long as all the rest that is
    done to a picture of 32 pixels.
    """
    scramble = build_hash(FIRST, FIRST_FACTOR)
    words = np.zeros((POOL, len(numbers)), np.uint32)
    words[0], words[1], words[2] = seed, epoch, numbers
    pool = [scramble(word) for word in words]
    for source in range(POOL):
        for other in range(POOL):
            if other != source:
                pool[other] = fold(pool[other] * np.uint32(LEFT) - scramble(pool[source]) * np.uint32(RIGHT))
    return build_hash(LAST, LAST_FACTOR)(pool[0]).tolist()


def build_hash(constant: int, factor: int) -> Callable[[np.ndarray], np.ndarray]:
    """A hash of words uint32 (n,), another one at every call."""

    def scramble(words: np.ndarray) -> np.ndarray:
        nonlocal constant
        words = words ^ np.uint32(constant)
        constant = constant * factor % 2**32
        return fold(words * np.uint32(constant))

    return scramble


def fold(words: np.ndarray) -> np.ndarray:
    """Words uint32 with their upper half mixed into the lower one."""
    return words ^ (words >> np.uint32(16))
