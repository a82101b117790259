"""Nine significant digits by numpy against Python's own formatting: equal bits, and the time of each.

run     python -m benchmarks.digits [SEED]
"""

import sys
from time import process_time

import numpy as np

from src.ground.digits import round_digits

COUNT = 400_000


def main() -> None:
    generator = np.random.default_rng(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
    for name, numbers in draw_sets(generator).items():
        start = process_time()
        ours = round_digits(numbers)
        middle = process_time()
        python = np.array([float(f"{number:.9g}") for number in numbers.tolist()])
        end = process_time()
        differ = int((ours.view(np.int64) != python.view(np.int64)).sum())
        times = f"{(middle - start) / COUNT * 1e9:.0f} ns each, Python {(end - middle) / COUNT * 1e9:.0f} ns"
        print(f"{name}: {differ} of {COUNT} differ, {times}")


def draw_sets(generator: np.random.Generator) -> dict[str, np.ndarray]:
    """COUNT numbers of each kind: probabilities, every size, the middle between two neighbours, ..."""
    logits = generator.normal(0, 3, (COUNT // 1000, 1000))
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    ties = (generator.integers(10**8, 10**9, COUNT) * 10 + 5) / 10.0 ** generator.integers(10, 23, COUNT)
    powers = 10.0 ** -generator.integers(0, 320, COUNT).astype(float)
    return {
        "probabilities": probs.flatten(),
        "uniform": generator.random(COUNT),
        "sizes 1e-330 to 1": 10.0 ** generator.uniform(-330, 0, COUNT),
        "bit patterns from 0 to 1": generator.integers(0, 0x3FF0000000000001, COUNT).view(np.float64),
        "middles": ties,
        "below middles": np.nextafter(ties, 0),
        "above middles": np.nextafter(ties, 1),
        "powers of ten": powers,
        "below powers of ten": np.nextafter(powers, 0),
        "nearly one": 1 - 10.0 ** generator.uniform(-17, -1, COUNT),
        "subnormal": generator.integers(0, 2**52, COUNT).view(np.float64),
    }


if __name__ == "__main__":
    main()
