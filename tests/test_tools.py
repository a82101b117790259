"""Commands outside the pipeline, by hand; slow tests elsewhere run them on a project."""

import numpy as np
import pytest
import torch

from tools.lr_range import count_steps, smooth
from tools.preview import describe_target, pick_rows


def test_smoothing_is_bias_corrected():
    """0.9 of the old value and 0.1 of the new one, over 1 - 0.9^steps: (0.09 x 2 + 0.1 x 4) / 0.19."""
    assert smooth(np.array([2.0, 4.0])).tolist() == pytest.approx([2.0, 0.58 / 0.19])


@pytest.mark.parametrize(
    "losses, steps",
    [
        ([2.0, 1.0, 1.5], 3),
        ([2.0, 1.0, 4.1, 1.0], 2),  # more than 4 times the lowest
        ([2.0, 1.0, float("nan"), 1.0], 2),
        ([float("nan"), 1.0], 1),
    ],
)
def test_the_range_test_ends_where_the_loss_diverges(losses, steps):
    assert count_steps(losses) == steps


def test_pictures_of_all_classes_are_picked():
    labels = np.array([2, 0, 1, 0, 1, 2])
    assert labels[pick_rows(labels, 3)].tolist() == [0, 1, 2] and len(set(pick_rows(labels, 6))) == 6


def test_describe_a_mixed_target():
    assert describe_target(torch.tensor([0.0, 0.7, 0.3]), ("cat", "dog", "owl")) == "dog 0.70\nowl 0.30"
