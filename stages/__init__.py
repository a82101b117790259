"""The stages of the pipeline, each run from the root as `python -m stages.NAME`.

The CPU instructions that torch may use, and how its threads wait, are set here, since torch and its libraries
read them on import. So that a stage starts sooner, torch's compiler is left until something is compiled, and
no garbage is collected before `run`: nothing that is imported ever is any.
"""

import gc
import sys
from importlib.util import find_spec

if find_spec("simplejpeg") is None:
    sys.exit(f"error: {sys.executable}: Dojo's packages are not found (use make, or: . .venv/bin/activate)")

if sys.argv[0] == "-m":  # as long as Python looks for the script that it is to run
    gc.disable()

from src.ground.errors import UserError, fail, show_interrupt
from src.ground.libraries import check_libraries
from src.ground.params import read
from src.machine.deferred import defer_compiler
from src.machine.isa import let_threads_sleep, limit_instructions

sys.excepthook = show_interrupt  # stages then import torch, which takes seconds
let_threads_sleep()
defer_compiler()
try:
    limit_instructions(read(str, "cpu_isa"))
    check_libraries()
except UserError as error:
    fail(str(error), code=1)
