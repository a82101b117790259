"""What a weights file's network says of a split of the pictures. N pictures, C classes."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from src.ground.chunks import list_chunks
from src.ground.digits import round_digits
from src.ground.kinds import BatchSize, Share
from src.ground.params import Settings
from src.losses.bases import BASES, Base
from src.networks.checkpoint import check_facts, load_model
from src.networks.predict import choose_batch_size, predict_logits
from src.pictures.manifest import read_manifest
from src.pictures.reading import check_count, read_pictures, resize_pictures
from src.results.predictions import Predictions


@dataclass(frozen=True)
class EvaluateSettings(Settings):
    """How networks are evaluated on the test pictures."""

    batch_size: BatchSize  # pictures at once, auto: by their size; changes at most the last digits
    wanted_accuracy: Share  # of the answers, on val: below a confidence the exported student says unsure


@dataclass(frozen=True)
class Scores:
    """A network's logits for pictures whose class is known."""

    base: Base  # how they become probabilities
    classes: tuple[str, ...]  # (C,)
    labels: np.ndarray  # (N,) int64
    logits: Tensor  # (N, C) float32

    def predict(self, temperature: float = 1.0) -> Predictions:
        """The probabilities of the logits divided by a temperature, with the digits of the files."""
        return Predictions(self.classes, self.labels, round_digits(self.find_probs(temperature)))

    def find_probs(self, temperature: float) -> np.ndarray:
        """The same, (N, C) float64, with all digits."""
        probs = np.empty(self.logits.shape)
        for part in list_chunks(*self.logits.shape):
            logits = self.logits[part].double()
            probs[part] = self.base.probs(logits if temperature == 1 else logits / temperature).numpy()
        return probs


def score(
    weights: Path, split: str, batch_size: int | str, fit: str, dct_scaling: bool, device: torch.device
) -> Scores:
    """The logits of a network for the pictures of train, val or test.

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
    logits = predict_logits(model.to(device), pictures, at_once, device)
    return Scores(BASES[facts.base], manifest.classes, manifest.labels, logits)
