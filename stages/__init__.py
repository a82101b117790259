"""The stages of the pipeline, each run from the root as `python -m stages.NAME`."""

import sys
from importlib.util import find_spec

if find_spec("simplejpeg") is None:
    sys.exit(
        f"error: {sys.executable}: Dojo's packages are not there (use make, or first: . .venv/bin/activate)"
    )
