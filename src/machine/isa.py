"""The CPU instructions and the waiting of this process's threads: environment variables, set before imports.

torch, its libraries and numpy read them when they are loaded.
"""

import os

AVX2 = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",  # numpy's exp and log round otherwise there
}
SAME = "same"
SPINS = "1000"  # looks for work before a thread sleeps; libgomp's own number where threads outnumber cores
CPU_ISA = {
    SAME: AVX2 | {"MKL_CBWR": "COMPATIBLE"},  # elsewhere MKL chooses its code by the CPU's maker
    "avx2": AVX2,
    "auto": {},
}


def limit_instructions(cpu_isa: str) -> None:
    """Restrict torch and the libraries to these instructions; auto sets no limit."""
    os.environ.update(CPU_ISA[cpu_isa])


def let_threads_sleep() -> None:
    """Make OpenMP's threads sleep soon while they wait, unless the user has set how they wait.

    By default they spin for milliseconds, and trainings that share cores slow each other down. Asleep at
    once, as by OMP_WAIT_POLICY=passive, they would wake too late for the many short operations of a step.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)


def list_variables() -> dict[str, str | None]:
    """The environment variables that this module sets, as they are; None for one that is not set."""
    return {name: os.environ.get(name) for name in (*CPU_ISA[SAME], "OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
