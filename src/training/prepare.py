"""From a Job to a Training, and the checks before anything is trained."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from timm.layers import convert_sync_batchnorm
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from src.ground.errors import UserError
from src.ground.rules import NO_BFLOAT16, NO_CPU, spell_sharing_problem, spell_step_problem
from src.machine.collectives import world
from src.machine.runtime import MachineSettings, choose_device, has_bfloat16
from src.networks.freezing import freeze
from src.networks.network import BATCH_NORM
from src.training.job import Job
from src.training.optim import build_optimizer
from src.training.precision import choose_precision
from src.training.settings import StepSettings
from src.training.step import Training

SMALL_GAMMA = 1e-2  # a channel with a smaller scale can be pruned


def check_batches(pictures: int, settings: StepSettings, key: str) -> None:
    """Refuse a training set with fewer pictures than one step takes."""
    if problem := spell_step_problem(settings.batch_size, settings.accumulate, pictures):
        raise UserError(f"params.yaml: {key}.{problem}")


def check_processes(settings: StepSettings, machine: MachineSettings, key: str) -> None:
    """Refuse, before anything starts, what several processes cannot share or a CPU cannot run."""
    if problem := spell_sharing_problem(settings.batch_size, machine.processes):
        raise UserError(f"params.yaml: {key}.batch_size: {problem}")
    if settings.sync_batchnorm and choose_device(machine.device).type == "cpu":
        raise UserError(f"params.yaml: {key}.sync_batchnorm: {NO_CPU}")
    if machine.device == "cpu" and settings.precision == "bfloat16" and not has_bfloat16():
        raise UserError(f"params.yaml: {key}.precision: {NO_BFLOAT16}")


def check_batch_norm(model: nn.Module, settings: StepSettings, processes: int, key: str) -> None:
    """Refuse BatchNorm over one picture: torch fails if it is small, and learns nothing from a large one."""
    single = settings.batch_size == (1 if settings.sync_batchnorm else processes)
    if single and any(isinstance(module, BATCH_NORM) for module in model.modules()):
        raise UserError(
            f"params.yaml: {key}.batch_size: {settings.batch_size} for {processes} processes, but the "
            "network has BatchNorm, which needs at least 2 pictures in each (increase it, or use another "
            "network)"
        )


def prepare(job: Job) -> Training:
    """The Training of a job, on its device and with the constant learning rate lr."""
    network, model, settings, device = job.network, job.trained, job.settings, job.device
    check_batches(len(job.data.rows), settings, job.key)
    check_batch_norm(network, settings, world(), job.key)
    network.to(device)
    if settings.sync_batchnorm and world() > 1:
        network.net = convert_sync_batchnorm(network.net)
    frozen = freeze(network, settings.freeze, job.key)
    optimizer = build_optimizer(network, settings)
    penalties: list[Callable[[], Tensor]] = []
    before_step: list[Callable[[], Any]] = []
    if settings.slim:
        penalties.append(partial(penalize_gammas, find_gammas(network, job.key), settings.slim))
    if settings.clip:
        before_step.append(partial(nn.utils.clip_grad_norm_, list(network.parameters()), settings.clip))
    return Training(
        model=model if world() == 1 else DistributedDataParallel(model, forward_sync_buffers=False),
        loss=job.loss.to(device),
        optimizer=optimizer,
        device=device,
        penalties=penalties,
        before_epoch=[module.eval for module in frozen],
        before_step=before_step,
        after_epoch=[optimizer.sync_lookahead] if hasattr(optimizer, "sync_lookahead") else [],
        accumulate=settings.accumulate,
        precision=choose_precision(settings.precision, network, device, job.key),
    )


def find_gammas(model: nn.Module, key: str) -> list[nn.Parameter]:
    """The scales (channels,) of all trainable BatchNorms."""
    norms = [module for module in model.modules() if isinstance(module, BATCH_NORM)]
    gammas = [norm.weight for norm in norms if norm.weight is not None and norm.weight.requires_grad]
    if not gammas:
        raise UserError(f"params.yaml: {key}.slim: the network has no trainable BatchNorm (set 0)")
    return gammas


def measure_small_gammas(model: nn.Module, key: str) -> float:
    """The share of the scales of all trainable BatchNorms that are below SMALL_GAMMA."""
    gammas = torch.cat([gamma.flatten() for gamma in find_gammas(model, key)])
    return (gammas.abs() < SMALL_GAMMA).double().mean().item()


def penalize_gammas(gammas: Sequence[Tensor], factor: float) -> Tensor:
    """`factor` times the sum of all |gamma|.

    Z. Liu et al., Learning Efficient Convolutional Networks through Network Slimming, 2017, arXiv:1708.06519.
    """
    return factor * torch.cat([gamma.flatten() for gamma in gammas]).abs().sum()
