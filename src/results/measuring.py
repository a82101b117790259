"""The predictions of a weights file's network on a split of the pictures."""

from dataclasses import dataclass
from pathlib import Path

import torch

from src.ground.digits import round_digits
from src.ground.kinds import BatchSize
from src.ground.params import Settings
from src.losses.bases import BASES
from src.networks.checkpoint import check_facts, load_model
from src.networks.predict import choose_batch_size, predict_probs
from src.pictures.manifest import read_manifest
from src.pictures.reading import check_count, read_pictures, resize_pictures
from src.results.predictions import Predictions


@dataclass(frozen=True)
class EvaluateSettings(Settings):
    """How networks are evaluated on the test pictures."""

    batch_size: BatchSize  # pictures at once, auto: by their size; changes at most the last digits


def measure(
    weights: Path, split: str, batch_size: int | str, fit: str, dct_scaling: bool, device: torch.device
) -> Predictions:
    """The probabilities that a network predicts for the pictures of train, val or test.

    A UserError if it was trained on other classes, at another size or on pictures fitted otherwise; train's
    may be packed larger.
    """
    model, facts = load_model(weights)
    manifest, pictures = read_manifest(split), read_pictures(split, fit, dct_scaling)
    check_count(pictures, manifest, split)
    if split == "train":
        pictures = resize_pictures(pictures, facts.height, facts.width)
    _, height, width, _ = pictures.shape
    check_facts(weights, facts, manifest.classes, (height, width), fit)
    at_once = choose_batch_size(batch_size, height, width)
    probs = predict_probs(model.to(device), pictures, BASES[facts.base], at_once, device)
    return Predictions(manifest.classes, manifest.labels, round_digits(probs))
