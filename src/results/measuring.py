"""The predictions of a weights file's network on a split of the pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from src.ground.digits import round_digits
from src.ground.errors import UserError, list_some
from src.ground.kinds import BatchSize
from src.ground.params import Settings
from src.losses.bases import BASES
from src.networks.checkpoint import load_model
from src.networks.predict import choose_batch_size, predict_probs
from src.pictures.manifest import read_manifest
from src.pictures.reading import check_count, read_pictures, resize_pictures
from src.results.predictions import Predictions


@dataclass(frozen=True)
class EvaluateSettings(Settings):
    """How networks are evaluated on the test pictures."""

    batch_size: BatchSize  # pictures at once, auto: by their size; changes at most the last digits


def spell_difference(own: Sequence[str], packed: Sequence[str]) -> str:
    """In what a network's classes differ from those of the data, in few words however many there are."""
    lacking, unknown = sorted({*own} - {*packed}), sorted({*packed} - {*own})
    if not lacking and not unknown:
        return f"the same {len(own)} classes in another order than the data's"
    parts = {"it lacks": lacking, "only it has": unknown}
    differences = ", ".join(f"{what} {list_some(names)}" for what, names in parts.items() if names)
    return f"{len(own)} classes, the data has {len(packed)}: {differences}"


def measure(
    weights: Path, split: str, batch_size: int | str, dct_scaling: bool, device: torch.device
) -> Predictions:
    """The probabilities that a network predicts for the pictures of train, val or test.

    A UserError if it was trained on other classes, or at another size; train's pictures may be packed larger.
    """
    model, facts = load_model(weights)
    manifest, pictures = read_manifest(split), read_pictures(split, dct_scaling)
    check_count(pictures, manifest, split)
    if facts.classes != manifest.classes:
        difference = spell_difference(facts.classes, manifest.classes)
        raise UserError(f"{weights}: trained on {difference} (use the data of its training)")
    if split == "train":
        pictures = resize_pictures(pictures, facts.height, facts.width)
    _, height, width, _ = pictures.shape
    if (facts.height, facts.width) != (height, width):
        own, packed = f"{facts.height} x {facts.width}", f"{height} x {width}"
        raise UserError(
            f"{weights}: trained at {own} pixels, the pictures are packed at {packed} (set images to {own})"
        )
    at_once = choose_batch_size(batch_size, height, width)
    probs = predict_probs(model.to(device), pictures, BASES[facts.base], at_once, device)
    return Predictions(manifest.classes, manifest.labels, round_digits(probs))
