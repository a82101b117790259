"""Checks of a network before it is trained: what would fail hours later fails at the start.

None of them changes the network or the state of torch's generators. C classes, H height, W width in pixels.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import torch
from safetensors.torch import load
from torch import Tensor, nn

from src.ground.errors import UserError, shorten
from src.networks.checkpoint import encode, rebuild
from src.networks.network import Input, Network

ANOTHER = "use another network"
SIDES = range(32, 257, 32)  # pixels of the squares that are tried beside the library's own size
TRACED = 1e-3  # largest difference of a logit between the network and its trace, as a share of the largest


def draw_images(number: int, size: tuple[int, int]) -> Tensor:
    """Random images (number, 3, H, W) in [0, 1), always the same ones."""
    return torch.rand(number, 3, *size, generator=torch.Generator().manual_seed(0))


@contextmanager
def refuse(key: str, what: str, remedy: str = ANOTHER) -> Iterator[None]:
    """Within the context whatever a network raises is a UserError: params.yaml, `key`, `what`, `remedy`."""
    try:
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of tracing; the training repeats those of a step
            yield
    except UserError:
        raise
    except Exception as error:
        text = shorten(error, 100)
        raise UserError(f"params.yaml: {key}.arch: the network cannot {what}: {text} ({remedy})") from None


def check_logits(logits: object, shape: tuple[int, int], mode: str, key: str) -> None:
    """Refuse an output that is not finite logits of this shape (N, C)."""
    found = tuple(getattr(logits, "shape", ()))
    if not isinstance(logits, Tensor) or found != shape:
        what = f"has shape {found}" if isinstance(logits, Tensor) else f"is a {type(logits).__name__}"
        raise UserError(
            f"params.yaml: {key}.arch: the network's output in {mode} {what}, not {shape} "
            "(use a network with one classifier)"
        )
    if not logits.isfinite().all():
        raise UserError(f"params.yaml: {key}.arch: the network's output in {mode} is not finite ({ANOTHER})")


@torch.no_grad()
def check_sizes(network: Network, sizes: Sequence[tuple[int, int]], num_classes: int, key: str) -> None:
    """Refuse a network that fails at one of `sizes` (height, width), or has no classifier."""
    for height, width in sizes:
        what = f"take pictures of {height} x {width}"
        try:
            with refuse(key, what):
                logits = network.eval()(draw_images(1, (height, width)))
        except UserError as error:
            several = "change multi_scale, train_scales or images.height and images.width"
            remedy = several if len(sizes) > 1 else suggest_size(network, max(height, width))
            raise UserError(f"{str(error).removesuffix(f'({ANOTHER})')}({remedy}, or {ANOTHER})") from None
        check_logits(logits, (1, num_classes), "evaluation", key)


def suggest_size(network: Network, side: int) -> str:
    """The remedy for squares of `side` pixels that the network does not take: the next larger one, if any."""
    sides = list_sides(network.expected)
    for other in [*(one for one in sides if one > side), *(one for one in sides if one <= side)]:
        if fits(network, other):
            return f"set images.height and images.width to {other}"
    return "set images.height and images.width to others"


@torch.no_grad()
def fits(network: nn.Module, side: int) -> bool:
    """Whether the network takes squares of `side` pixels when it is measured."""
    with suppress(UserError), refuse("", ""):
        network.eval()(draw_images(1, (side, side)))
        return True
    return False


def list_sides(expected: Input) -> list[int]:
    """Squares that most networks take, in pixels a side, and the library's own size; from the smallest."""
    return sorted({*SIDES, max(expected.height, expected.width)})


@torch.no_grad()
def check_round_trip(
    network: nn.Module, arch: str, size: tuple[int, int], num_classes: int, key: str
) -> Network:
    """Refuse a network whose saved weights do not give the same network; returns the loaded one."""
    with refuse(key, "be saved and loaded"):
        state, source = network.state_dict(), f"params.yaml: {key}.arch"
        twin = rebuild(arch, num_classes, load(encode(network, {})), source)
        for name, tensor in twin.state_dict().items():
            if tensor.dtype != state[name].dtype or not torch.equal(tensor, state[name]):
                raise ValueError(f"{name} differs")
        images = draw_images(1, size)
        if not torch.equal(network.eval()(images), twin(images)):
            raise ValueError("its logits differ")
    return twin


def check_step(network: nn.Module, size: tuple[int, int], num_classes: int, key: str) -> None:
    """Refuse a network that cannot take a training step; changes the network's averages and gradients."""
    with refuse(key, "take a training step"):
        logits = network.train()(draw_images(2, size))
    check_logits(logits, (2, num_classes), "training", key)
    with refuse(key, "take a training step"):
        logits.logsumexp(dim=1).sum().backward()
        for name, parameter in network.named_parameters():
            if parameter.grad is not None and not parameter.grad.isfinite().all():
                raise ValueError(f"the gradient of {name} is not finite")


@torch.no_grad()
def check_trace(network: nn.Module, size: tuple[int, int], key: str) -> None:
    """Refuse a network that cannot be exported: its trace fails, or gives other logits for one picture."""
    with refuse(key, "be exported as TorchScript"):
        traced = torch.jit.freeze(torch.jit.trace(network.eval(), draw_images(2, size), check_trace=False))
        own, other = network(draw_images(1, size)), traced(draw_images(1, size))
        if own.shape != other.shape or not (own - other).abs().max() <= TRACED * own.abs().max():
            raise ValueError("its trace gives other logits")
