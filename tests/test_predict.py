"""Predictions of a network: how many pictures at once, and the memory that they take."""

import os
import subprocess
import sys

import pytest
from conftest import ROOT, edit_params

from src.ground.errors import UserError
from src.ground.params import read
from src.networks.predict import choose_batch_size
from src.results.measuring import EvaluateSettings
from src.teaching.teachers import KnowledgeSettings

PEAK = """
import re, sys
import numpy as np, torch
from src.losses.bases import BASES
from src.networks.libraries import build_model
from src.networks.predict import choose_batch_size, predict_probs
pictures = np.zeros((90, 224, 224, 3), np.uint8)
size = choose_batch_size(sys.argv[1], 224, 224)
network = build_model("resnet50", 1000, "")
probs = predict_probs(network, pictures, BASES["softmax"], size, torch.device("cpu"))
assert probs.shape == (90, 1000)
print(int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) * 1024)
"""


@pytest.mark.parametrize(
    "wanted, height, width, size",
    [("auto", 32, 32, 256), ("auto", 90, 90, 256), ("auto", 224, 224, 41), ("auto", 4096, 4096, 1),
     ("auto", 100, 200, 104), (7, 224, 224, 7), (1000, 8, 8, 1000)],
)  # fmt: skip
def test_auto_bounds_the_pixels_of_a_batch(wanted, height, width, size):
    assert choose_batch_size(wanted, height, width) == size
    assert wanted != "auto" or size == 1 or size * height * width <= 32 * 256 * 256


def test_the_batch_size_is_auto_or_a_number(place):
    edit_params(place, knowledge__batch_size=64)
    assert read(KnowledgeSettings, "knowledge").batch_size == 64
    assert read(EvaluateSettings, "evaluate").batch_size == "auto"
    edit_params(place, knowledge__batch_size=0, evaluate__batch_size="big")
    with pytest.raises(UserError) as error:
        read(KnowledgeSettings, "knowledge")
    rule = "must be auto or a whole number, at least 1, got"
    assert str(error.value).splitlines() == [
        f"params.yaml: knowledge.batch_size: {rule} 0",
        f"params.yaml: evaluate.batch_size: {rule} 'big'",
    ]


@pytest.mark.slow
def test_a_thousand_classes_at_224_pixels_take_less_than_2500_megabytes():
    """resnet50 takes 4.0 GB with batches of 256; getrusage would count what the parent had, too."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", PEAK, "auto"]
    peak = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert int(peak) < 2.5e9
