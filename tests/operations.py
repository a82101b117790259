"""Print a hash of each operation's result as JSON; run with the environment of `cpu_isa: same`.

operations.json holds what an AMD EPYC (Zen 5) gave. An Intel Xeon (AVX512) had given the same with MKL_CBWR,
for all but sqrt and numpy's exp and log, which have been computed otherwise since.
"""

import hashlib
import json
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.machine.runtime import MachineSettings, start_machine

NORMAL = np.random.default_rng(0)
UNARY: dict[str, Callable[[Tensor], Tensor]] = {
    "exp": torch.exp,
    "log": lambda x: x.abs().log(),
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "gelu": F.gelu,
    "silu": F.silu,
    "softmax": lambda x: x.softmax(1),
    "log_softmax": lambda x: x.log_softmax(1),
    "sum": lambda x: x.sum(1),
    "mean": lambda x: x.mean(),
    "sqrt": lambda x: x.abs().sqrt(),
    "pow": lambda x: x.abs() ** 0.37,
    "erf": torch.erf,
    "var": lambda x: x.var(0),
}
CONVOLUTIONS = {  # channels in and out, kernel, stride, pixels, groups, whether channels_last
    "conv3x3_stem": (3, 24, 3, 2, 32, 1, True),
    "conv3x3": (64, 64, 3, 1, 8, 1, True),
    "conv1x1": (64, 128, 1, 1, 8, 1, True),
    "conv3x3_s2": (64, 128, 3, 2, 8, 1, True),
    "dw3x3": (64, 64, 3, 1, 8, 64, True),
    "dw7x7": (48, 48, 7, 1, 8, 48, True),
    "conv3x3_nchw": (64, 64, 3, 1, 8, 1, False),
    "conv3x3_512": (256, 512, 3, 1, 2, 1, True),
}
BATCH = 50


def draw(*shape: int) -> Tensor:
    return torch.from_numpy(NORMAL.standard_normal(shape).astype(np.float32))


def digest(*results: Tensor | np.ndarray) -> str:
    arrays = [r.detach().contiguous().numpy() if isinstance(r, Tensor) else r for r in results]
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()[:12]


def convolve(
    channels: int, filters: int, kernel: int, stride: int, side: int, groups: int, last: bool
) -> dict[str, str]:
    layout = torch.channels_last if last else torch.contiguous_format
    x = draw(BATCH, channels, side, side).contiguous(memory_format=layout).requires_grad_()
    w = draw(filters, channels // groups, kernel, kernel).contiguous(memory_format=layout).requires_grad_()
    y = F.conv2d(x, w, stride=stride, padding=kernel // 2, groups=groups)
    y.backward(draw(*y.shape).contiguous(memory_format=layout))
    return {"fwd": digest(y), "gx": digest(x.grad), "gw": digest(w.grad)}


def apply_linear(features: int, *shape: int) -> dict[str, str]:
    x, w, b = (draw(*s).requires_grad_() for s in (shape, (features, shape[-1]), (features,)))
    y = F.linear(x, w, b)
    y.backward(draw(*y.shape))
    return {"fwd": digest(y), "gx": digest(x.grad), "gw": digest(w.grad, b.grad)}


def normalize() -> dict[str, str]:
    x = draw(BATCH, 64, 8, 8).contiguous(memory_format=torch.channels_last).requires_grad_()
    batch = nn.BatchNorm2d(64)
    y = batch(x)
    y.backward(draw(*y.shape))
    bn = {"bn.fwd": digest(y, batch.running_var), "bn.gx": digest(x.grad, batch.weight.grad)}
    x, layer = draw(BATCH, 64, 96).requires_grad_(), nn.LayerNorm(96)
    y = layer(x)
    y.backward(draw(*y.shape))
    return bn | {"ln": digest(y, x.grad, layer.weight.grad)}


def step_adam() -> str:
    weight = draw(200, 200).requires_grad_()
    optimizer = torch.optim.Adam([weight], lr=0.003, fused=True)
    for _ in range(3):
        (weight * draw(200, 200)).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return digest(weight)


def main() -> None:
    found = {}
    for name, setting in CONVOLUTIONS.items():
        found |= {f"{name}.{part}": value for part, value in convolve(*setting).items()}
    for name, shape in {"linear10": (10, BATCH, 512), "linear3d": (192, BATCH, 64, 96)}.items():
        found |= {f"{name}.{part}": value for part, value in apply_linear(*shape).items()}
    found["matmul"] = digest(draw(300, 300) @ draw(300, 300))
    found["bmm"] = digest(torch.bmm(draw(8, 64, 32), draw(8, 32, 64)))
    found |= normalize()
    x = draw(BATCH, 1000)
    found |= {name: digest(function(x)) for name, function in UNARY.items()}
    found["adam3"] = step_adam()
    x = draw(8, 3, 40, 30)
    found["interp_aa"] = digest(F.interpolate(x, (32, 32), mode="bilinear", antialias=True))
    found["avgpool"] = digest(F.adaptive_avg_pool2d(x, 1))
    found["grid"] = digest(F.grid_sample(x, draw(8, 32, 32, 2) * 0.5, align_corners=False))
    x = torch.from_numpy(NORMAL.standard_normal((BATCH, 64)))
    found["double_matmul"] = digest(x @ x.T)
    values = NORMAL.standard_normal(1000)
    found["numpy_exp"] = digest(np.exp(values))
    found["numpy_log"] = digest(np.log(np.abs(values)))
    found["numpy_matmul"] = digest(NORMAL.standard_normal((64, 64)) @ NORMAL.standard_normal((64, 64)))
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    start_machine(MachineSettings(threads=2, cpu_isa="same", device="cpu", tf32=False, processes=1), seed=0)
    main()
