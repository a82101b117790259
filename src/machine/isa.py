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
CPU_ISA = {
    SAME: AVX2 | {"MKL_CBWR": "COMPATIBLE"},  # elsewhere MKL chooses its code by the CPU's maker
    "avx2": AVX2,
    "auto": {},
}


def limit_instructions(cpu_isa: str) -> None:
    """Restrict torch and the libraries to these instructions; auto sets no limit."""
    os.environ.update(CPU_ISA[cpu_isa])


def let_threads_sleep() -> None:
    """Make OpenMP's threads sleep while they wait, unless the user has set it otherwise.

    By default they spin, and two trainings on one machine slow each other down several times over.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
