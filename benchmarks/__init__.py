"""Benchmarks of speed and memory: contestants side by side in one run, as ratios with ranges. Not tests."""

import stages  # noqa: F401  sets the CPU's instructions before torch is imported
