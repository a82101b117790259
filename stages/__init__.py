"""The stages of the pipeline, each run from the root as `python -m stages.NAME`.

The instructions that torch may use are set here: it and its libraries read them when they are imported.
"""

import os
import sys
from importlib.util import find_spec

if find_spec("simplejpeg") is None:
    sys.exit(
        f"error: {sys.executable}: Dojo's packages are not there (use make, or first: . .venv/bin/activate)"
    )

from src.ground.errors import UserError, fail
from src.ground.params import read

CPU_ISA = {
    "auto": {},
    "avx2": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    },
}

try:
    os.environ.update(CPU_ISA[read(str, "cpu_isa")])
except UserError as error:
    fail(str(error), code=1)
