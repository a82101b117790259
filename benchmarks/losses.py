"""The cost of GHM and OHM: as a share of a training step, and GHM against a loop over its bins.

run     python -m benchmarks.losses
"""

from dataclasses import replace
from statistics import median

import torch
from torch import Tensor

from benchmarks.timing import format_table, time_in_turns
from src.batches.batch import Batch
from src.ground.params import read
from src.losses.bases import BASES, Base
from src.losses.loss import Loss
from src.losses.weightings import Ghm, GhmSettings, Ohm, OhmSettings, Outcome
from src.networks.libraries import build_model
from src.networks.network import Network
from src.training.optim import build_optimizer
from src.training.settings import StudentSettings
from src.training.step import Training, train_epoch

THREADS, ROUNDS, STEPS, CALLS = 2, 7, 5, 100
ARCH, PIXELS, BATCH = "resnet18", 32, 128
PICTURES, CLASSES, BINS = 256, 1000, 30


def loop_over_bins(norms: Tensor, average: Tensor, momentum: float) -> Tensor:
    """Factors as in the original GHM code: a mask and a sum for each bin."""
    factors, used = torch.zeros_like(norms), 0
    for number in range(BINS):
        low, high = number / BINS, (number + 1) / BINS + (1e-6 if number == BINS - 1 else 0)
        inside = (norms >= low) & (norms < high)
        count = inside.sum().item()
        if count:
            average[number] = momentum * average[number] + (1 - momentum) * count
            factors[inside] = norms.numel() / average[number]
            used += 1
    return factors / used


def take_steps(network: Network, loss: Loss, batches: list[Batch]) -> None:
    optimizer = build_optimizer(network, replace(read(StudentSettings, "student"), optimizer="adam", lr=1e-4))
    training = Training(model=network, loss=loss, optimizer=optimizer, device=torch.device("cpu"))
    train_epoch(training, batches, (0,))


def measure_shares(base: Base) -> list[float]:
    """The time that GHM and OHM add to a training step of ARCH, as a share of it, per round."""
    images = torch.randint(0, 256, (BATCH, 3, PIXELS, PIXELS), dtype=torch.uint8)
    targets = torch.eye(10)[torch.arange(BATCH) % 10]
    batches = [Batch(images, targets, targets, torch.ones(BATCH))] * STEPS
    network = build_model(ARCH, 10, "student")
    hard = [Ghm(GhmSettings(BINS, 0.75), (), ""), Ohm(OhmSettings(0.7), (), "")]
    plain, both = Loss(base, []), Loss(base, hard)
    taught = torch.randn(BATCH, 10, requires_grad=True), *batches[0][1:]
    seconds = time_in_turns(
        {
            "step": lambda: take_steps(network, plain, batches),
            "plain": lambda: [plain(*taught) for _ in range(CALLS)],
            "both": lambda: [both(*taught) for _ in range(CALLS)],
        },
        ROUNDS,
    )
    return [
        (with_both - without) / CALLS / (step / STEPS)
        for step, without, with_both in zip(*seconds.values(), strict=True)
    ]


def main() -> None:
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    for base in BASES.values():
        shares = [100 * share for share in measure_shares(base)]
        print(
            f"{base.name}: ghm and ohm add {median(shares):.2f} % ({min(shares):.2f} to {max(shares):.2f}) "
            f"to a step of {ARCH} at {PIXELS} pixels with batches of {BATCH}"
        )
    probs, targets = torch.rand(PICTURES, CLASSES), torch.eye(CLASSES)[torch.arange(PICTURES) % CLASSES]
    outcome = Outcome(probs, targets, probs, torch.ones(PICTURES), per_sample=False)
    ghm, average = Ghm(GhmSettings(BINS, 0.75), (), ""), torch.zeros(BINS)
    contestants = {
        "loop over bins": lambda: [loop_over_bins((probs - targets).abs(), average, 0.75) for _ in range(10)],
        "ours": lambda: [ghm(outcome) for _ in range(10)],
    }
    print(f"\nGHM of ({PICTURES}, {CLASSES}), {BINS} bins, 10 calls")
    print(format_table(time_in_turns(contestants, ROUNDS), "loop over bins"))


if __name__ == "__main__":
    main()
