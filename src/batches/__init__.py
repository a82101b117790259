"""Batches: from arrays of pictures to what a training step eats.

Enters: pictures uint8 (N, h, w, 3), targets (N, C), weights (N,). Leaves: `Batch`es, in an order and with
an augmentation drawn from (seed, epoch, picture) alone. To touch: a new policy is a row of
`augment.POLICIES`; what happens to whole batches is in `mixing`.
"""
