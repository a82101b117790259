"""The CPU instructions that torch may use: environment variables, to be set before torch is imported."""

import os

CPU_ISA = {
    "auto": {},
    "avx2": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    },
}


def limit_instructions(cpu_isa: str) -> None:
    """Restrict torch and its libraries to these instructions; auto sets no limit."""
    os.environ.update(CPU_ISA[cpu_isa])
