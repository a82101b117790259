"""What a person runs beside the pipeline, each as `python -m tools.NAME` or by a make target."""

import stages  # noqa: F401  sets the CPU's instructions before torch is imported
