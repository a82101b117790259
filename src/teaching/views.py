"""Which augmented views of the training pictures the teachers see, where their word on these is stored."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from src.ground.errors import UserError
from src.ground.files import read_json, write_json

FILE = Path("data/views.json")
STORED = "stored"  # of distill.view
OF_BATCHES = ("mixup", "cutmix", "multi_scale", "train_scales", "size_divisor", "views")  # of augment


@dataclass(frozen=True)
class Views:
    """The views of each picture: drawn from (seed, view, picture), view from 1."""

    count: int
    seed: int
    augment: Mapping[str, Any]  # what the student's augment does to single pictures


def plan_views(view: str, count: int, seed: int, augment: Mapping[str, Any]) -> Views | None:
    """None unless `view`, of distill, is stored: else teachers see plain pictures or batches."""
    return Views(count, seed, pick_single(augment)) if view == STORED else None


def pick_single(augment: Mapping[str, Any]) -> dict[str, Any]:
    """Of the settings of augment those of single pictures."""
    return {key: value for key, value in augment.items() if key not in OF_BATCHES}


def write_views(views: Views | None) -> None:
    write_json(FILE, describe(views))


def describe(views: Views | None) -> dict[str, Any] | None:
    """As a JSON value."""
    return asdict(views) if views else None


def read_views() -> Views | None:
    """What plan_views has written; None if it has not run."""
    found = read_json(FILE) if FILE.exists() else None
    try:
        return None if found is None else Views(**found)
    except TypeError:
        raise UserError(f"{FILE}: no plan of views (run dvc repro -f plan_views)") from None


def check_views(views: Views | None, view: str, augment: Mapping[str, Any]) -> None:
    """Refuse views that were planned for other settings than the student's."""
    if (views is not None) != (view == STORED) or (views and views.augment != pick_single(augment)):
        raise UserError(f"{FILE}: planned for other settings of distill.view or augment (run dvc repro)")
