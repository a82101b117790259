"""From settings to a Training, and what is refused before anything is trained."""

from collections.abc import Sequence
from functools import partial

import torch
from timm.layers import convert_sync_batchnorm
from timm.optim import Lookahead
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from src.batches.data import TrainingSet
from src.ground.errors import UserError
from src.machine.distributed import world
from src.networks.freezing import freeze
from src.networks.models import BATCH_NORM
from src.training.optim import build_optimizer
from src.training.settings import TrainingSettings
from src.training.step import Training

SMALL_GAMMA = 1e-2  # a channel whose scale is below it can be cut out


def check_batches(pictures: int, settings: TrainingSettings, key: str) -> None:
    """Refuse a training set that does not fill one step."""
    if settings.batch_size * settings.accumulate > pictures:
        name, product = "batch_size", f"{settings.batch_size}"
        if settings.accumulate > 1:
            name, product = f"{name} times accumulate", f"{product} x {settings.accumulate}"
        raise UserError(
            f"params.yaml: {key}.{name}: must be at most the {pictures} training pictures, got {product}"
        )


def check_processes(settings: TrainingSettings, processes: int, device: torch.device, key: str) -> None:
    """Refuse, before anything is started, what several processes cannot share or a CPU cannot do."""
    if settings.batch_size % processes:
        raise UserError(
            f"params.yaml: {key}.batch_size: must be a multiple of processes, {processes}, got "
            f"{settings.batch_size} (it counts the pictures of all processes)"
        )
    if settings.sync_batchnorm and device.type == "cpu":
        raise UserError(
            f"params.yaml: {key}.sync_batchnorm: true, but it runs on GPUs only and this is a CPU (set false)"
        )


def check_batch_norm(model: nn.Module, settings: TrainingSettings, key: str) -> None:
    """Refuse BatchNorm over one picture: torch fails on small ones and learns nothing from large ones."""
    alone = settings.batch_size == (1 if settings.sync_batchnorm else world())
    if alone and any(isinstance(module, BATCH_NORM) for module in model.modules()):
        raise UserError(
            f"params.yaml: {key}.batch_size: {settings.batch_size} for {world()} processes, but the network "
            "has BatchNorm, which needs at least 2 pictures in each (a larger batch, or another network)"
        )


def prepare(
    model: nn.Module,
    loss: nn.Module,
    data: TrainingSet,
    device: torch.device,
    settings: TrainingSettings,
    key: str,
) -> Training:
    """A training on `device` at the constant learning rate lr; `key` is its section of params.yaml."""
    check_batches(len(data.rows), settings, key)
    check_batch_norm(model, settings, key)
    model.to(device)
    if settings.sync_batchnorm and world() > 1:
        model.net = convert_sync_batchnorm(model.net)
    resting = freeze(model, settings.freeze, key)
    optimizer = build_optimizer(
        settings.optimizer,
        model,
        settings.lr,
        settings.weight_decay,
        settings.layer_decay,
        settings.head_lr_mult,
    )
    clip = partial(nn.utils.clip_grad_norm_, list(model.parameters()), settings.clip)
    return Training(
        model=model if world() == 1 else DistributedDataParallel(model, forward_sync_buffers=False),
        loss=loss.to(device),
        optimizer=optimizer,
        device=device,
        transforms=data.transforms,
        penalties=[partial(slimming, batch_norm_gammas(model, key), settings.slim)] if settings.slim else [],
        before_epoch=[module.eval for module in resting],
        before_step=[clip] if settings.clip else [],
        after_step=[],
        after_epoch=[optimizer.sync_lookahead] if isinstance(optimizer, Lookahead) else [],
        accumulate=settings.accumulate,
        precision=torch.float32 if device.type == "cpu" else getattr(torch, settings.precision),
    )


def batch_norm_gammas(model: nn.Module, key: str) -> list[nn.Parameter]:
    """The scales (channels,) of all BatchNorms that learn."""
    norms = [module for module in model.modules() if isinstance(module, BATCH_NORM)]
    gammas = [norm.weight for norm in norms if norm.weight is not None and norm.weight.requires_grad]
    if not gammas:
        raise UserError(f"params.yaml: {key}.slim: the network has no BatchNorm that learns (set 0)")
    return gammas


def slimming(gammas: Sequence[Tensor], factor: float) -> Tensor:
    """`factor` times the sum of all |gamma|.

    Z. Liu et al., Learning Efficient Convolutional Networks through Network Slimming, 2017, arXiv:1708.06519.
    """
    return factor * torch.cat([gamma.flatten() for gamma in gammas]).abs().sum()
