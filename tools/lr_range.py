"""The learning rate range test: a short training at rising rates, to find one that suits the student.

The loss is plotted against the rate; the suggestion is a tenth of the rate with the lowest smoothed loss.
L. N. Smith, Cyclical Learning Rates for Training Neural Networks, 2015, arXiv:1506.01186.

params  those of train_student
reads   what train_student reads
writes  plots/lr_range.csv    step, lr, loss, smoothed
        plots/lr_range.png
run     python -m tools.lr_range [--low 1e-6] [--high 1] [--steps 100]
"""

import stages  # noqa: F401  sets the CPU's instructions before torch is imported

# isort: split

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain, count, islice
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from torch.optim.lr_scheduler import LambdaLR

from src.ground.errors import Parser, UserError, run
from src.ground.params import read_top
from src.machine.runtime import MachineSettings
from src.results.drawing import save_figure
from src.results.predictions import write_table
from src.training.prepare import prepare
from src.training.step import train_epoch
from stages.train_student import build_job

TABLE = Path("plots/lr_range.csv")
PICTURE = Path("plots/lr_range.png")
MEMORY = 0.9  # weight of the old value in the smoothed loss
DIVERGED = 4  # times the lowest smoothed loss


def main() -> None:
    parser = Parser(prog="python -m tools.lr_range")
    parser.add_argument("--low", type=float, default=1e-6, help="first learning rate")
    parser.add_argument("--high", type=float, default=1.0, help="last learning rate")
    parser.add_argument("--steps", type=int, default=100, help="optimizer steps")
    arguments = parser.parse_args()
    if not (0 < arguments.low < arguments.high and arguments.steps > 1):
        raise UserError("--low, --high, --steps: must be 0 < low < high and at least 2 steps")
    rates = np.geomspace(arguments.low, arguments.high, arguments.steps)
    losses = measure_losses(rates)
    smoothed = smooth(losses)
    end = count_steps(smoothed.tolist())
    rows = zip(count(1), rates[:end].tolist(), losses[:end].tolist(), smoothed[:end].tolist(), strict=False)
    write_table(TABLE, ("step", "lr", "loss", "smoothed"), rows)
    best = int(smoothed[:end].argmin())
    draw(rates[:end], losses[:end], smoothed[:end], rates[best] / 10)
    print(
        f"{PICTURE}, {TABLE}: lowest loss at lr {rates[best]:.2g}"
        + (f", diverged at {rates[end - 1]:.2g}" if end < len(rates) else "")
        + f"; suggestion: student.lr={rates[best] / 10:.1g}"
    )


def measure_losses(rates: np.ndarray) -> np.ndarray:
    """The loss (steps,) of each step while the student trains at `rates` (steps,)."""
    job = build_job(replace(read_top(MachineSettings), processes=1))
    training, data, last = prepare(job), job.data, len(rates) - 1
    schedule = LambdaLR(training.optimizer, lambda step: rates[min(step, last)] / job.settings.lr)
    training.after_step.append(schedule.step)
    batches = chain.from_iterable(data.epoch(epoch) for epoch in count(1))
    wanted = islice(batches, len(rates) * job.settings.accumulate)
    losses = train_epoch(training, wanted, (data.seed, 0), data.transforms(1))
    return losses.view(len(rates), -1).mean(dim=1).numpy()


def smooth(losses: np.ndarray) -> np.ndarray:
    """The bias-corrected exponential moving average."""
    average, values = 0.0, []
    for step, loss in enumerate(losses, 1):
        average = MEMORY * average + (1 - MEMORY) * loss
        values.append(average / (1 - MEMORY**step))
    return np.array(values)


def count_steps(smoothed: Sequence[float]) -> int:
    """The number of steps before the smoothed loss becomes NaN or exceeds DIVERGED times its minimum."""
    lowest = float("inf")
    for step, loss in enumerate(smoothed):
        lowest = min(lowest, loss)
        if not loss <= DIVERGED * lowest:  # also true for NaN
            return max(step, 1)
    return len(smoothed)


def draw(rates: np.ndarray, losses: np.ndarray, smoothed: np.ndarray, suggestion: float) -> None:
    figure = Figure(figsize=(8, 5), layout="constrained")
    axis = figure.subplots()
    axis.plot(rates, losses, color="0.8", label="loss of a step")
    axis.plot(rates, smoothed, label="smoothed")
    axis.axvline(suggestion, linestyle="--", color="C1", label=f"suggestion {suggestion:.1g}")
    axis.set(xscale="log", xlabel="learning rate", ylabel="training loss", ylim=(0, 1.1 * smoothed.max()))
    axis.legend()
    save_figure(PICTURE, figure)


if __name__ == "__main__":
    run(main)
