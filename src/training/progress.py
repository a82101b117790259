"""How far a training has come: what a state holds beside network, optimizer and averages."""

from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from src.ground.errors import UserError
from src.machine.collectives import all_rows, rank, world
from src.training.curves import Row
from src.training.schedules import hurry
from src.training.step import Losses, average_losses
from src.training.validation import Best


@dataclass
class Progress:
    """How far a training has come."""

    best: Best
    planned: int  # epochs
    key: str  # the section of params.yaml, for messages
    device: torch.device  # of the losses
    turn: int = field(init=False)  # the epoch after which the schedule hurries to its end
    last: int = field(init=False)  # the epoch with which the training ends; the same as `turn` without hurry
    epoch: int = 0  # the last finished one, from 1
    losses: Losses = field(init=False)  # of the finished batches of the next epoch
    rows: list[Row] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.turn = self.last = self.planned
        self.losses = self.start_losses()

    def start_losses(self) -> Losses:
        """Those of an epoch of which no batch is finished."""
        return Losses(torch.zeros(0, device=self.device))

    def find_place(self, time: float) -> float:
        """Where in the planned epochs the training is at a time in epochs, from 0; see `hurry`."""
        return hurry(time, self.turn, self.last, self.planned)

    def finish(self, row: Row) -> None:
        """Record that the epoch of `row` is finished."""
        self.epoch, self.losses = row.epoch, self.start_losses()
        self.rows.append(row)

    def end_early(self, patience: int, warmup: int) -> bool:
        """Whether training now ends in `patience` epochs: as many after the warm-up brought no better one."""
        waited = self.epoch - max(self.best.epoch, warmup)
        if self.turn < self.last or waited < patience or self.epoch + patience >= self.last:
            return False
        self.turn, self.last = self.epoch, self.epoch + patience
        return True

    def check_every(self, batches: int) -> None:
        """`check_finite`, whenever so many batches more are finished."""
        if len(self.losses) % batches == 0:
            self.check_finite(batches)

    def check_finite(self, newest: int) -> None:
        """Stop all processes, with the same message, if one of the `newest` losses is not finite."""
        losses = self.losses.values[-newest:]
        if not len(losses):
            return
        means = average_losses(losses)  # not finite if that of one process is not
        if len(broken := (~means.isfinite()).nonzero()):
            index = int(broken[0])
            batch, value = len(self.losses) - len(losses) + index + 1, means[index].item()
            raise UserError(
                f"params.yaml: {self.key}.lr: the loss became {value} in batch {batch} of epoch "
                f"{self.epoch + 1} (try a lower lr or a longer warmup)"
            )

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to resume; a UserError if a loss is not finite: no such state is saved."""
        self.check_finite(len(self.losses))
        losses = self.losses.values.clone()  # (batches,), becomes (processes, batches)
        return {
            "epoch": self.epoch,
            "losses": all_rows(losses[None]) if len(losses) else losses.new_empty(world(), 0),
            "rows": [asdict(row) for row in self.rows],
            "best": vars(self.best),
            "turn": self.turn,
            "last": self.last,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.epoch, self.losses = state["epoch"], Losses(state["losses"][rank()].to(self.device))
        self.rows, self.best = [Row(**row) for row in state["rows"]], Best(**state["best"])
        self.turn, self.last = state["turn"], state["last"]
