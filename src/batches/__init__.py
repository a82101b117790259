"""Batches: from arrays of pictures to the input of a training step.

Enters: pictures uint8 (N, h, w, 3), targets (N, C), weights (N,). Leaves: `Batch`es, whose order and
augmentation depend only on (seed, epoch, picture). To touch: a new policy is a row of a table in `augment`;
transforms of whole batches are in `mixing`.
"""
