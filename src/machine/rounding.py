"""A square root that every CPU rounds alike, in place of torch's.

torch takes MKL's, which is off by the last bit in one of six numbers on an AMD CPU, and with
MKL_CBWR=COMPATIBLE in others on an Intel one. numpy uses the CPU's instruction, exact by IEEE 754.
"""

from functools import cache

import numpy as np
import torch
from torch import Tensor

EXACT = (torch.float32, torch.float64)


def exact_sqrt(values: Tensor) -> Tensor:
    """The correctly rounded square root of a tensor of any shape; complex numbers as torch computes them."""
    if values.is_complex():
        return values.pow(0.5)
    if values.dtype not in EXACT:
        kind = values.dtype if values.is_floating_point() else torch.get_default_dtype()
        return exact_sqrt(values.float()).to(kind)
    result = torch.empty_like(values)
    with np.errstate(invalid="ignore"):  # of a negative number NaN, as torch gives
        np.sqrt(values.detach().numpy(), out=result.numpy())
    return result


def sqrt_into(values: Tensor, *, out: Tensor) -> Tensor:
    return out.resize_(values.shape).copy_(exact_sqrt(values))


@cache
def replace_sqrt() -> torch.library.Library:
    """Make torch use `exact_sqrt` on CPUs, in optimizers and networks alike, until the process ends."""
    library = torch.library.Library("aten", "IMPL")
    library.impl("sqrt", exact_sqrt, "CPU", allow_override=True)
    library.impl("sqrt_", lambda values: values.copy_(exact_sqrt(values)), "CPU", allow_override=True)
    library.impl("sqrt.out", sqrt_into, "CPU", allow_override=True)
    return library
