"""Probing first: the classifier is trained alone before everything is, so that its start spoils no features.

A. Kumar et al., Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution, 2022,
arXiv:2202.10054. There the first classifier is a logistic regression whose penalty is chosen on val; here it
is trained as everything is, with the same loss, targets and schedule, and its best epoch on val is taken.
"""

import copy
from dataclasses import replace

from src.networks.freezing import BACKBONE
from src.networks.network import Network
from src.training.job import Job


def build_probe(job: Job) -> Job:
    """The training of the classifier alone, of a copy of the network, on pictures without augmentation."""
    print(f"{job.key}.probe_first: first the classifier alone")
    _, height, width, _ = job.validation.pictures.shape
    return replace(
        job,
        network=copy.deepcopy(job.network),
        loss=copy.deepcopy(job.loss),
        data=job.data.leave_plain(height, width),
        settings=replace(
            job.settings, freeze=BACKBONE, probe_first=False, patience=0, ema=0.0, swa=0, swa_lr=0.0, slim=0.0
        ),
    )


def take_classifier(network: Network, probe: Network) -> None:
    """Give a network the classifier of its probe."""
    for own, trained in zip(network.classifiers(), probe.classifiers(), strict=True):
        own.load_state_dict(trained.state_dict())
