"""Speed and memory side by side in one run, as ratios with their spread. Nothing here is a test."""

import stages  # noqa: F401  sets the CPU's instructions before torch is imported
