"""Losses: bases say how logits are read, weightings say which terms count, and any of them combine.

Enters: logits (N, C), targets (N, C), weights (N,). Leaves: a scalar. To touch: a new base is a row of
`bases.BASES`; a new weighting is its settings, its class and a row of `weightings.WEIGHTINGS`.
"""
