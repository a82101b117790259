"""Losses: bases define how logits are read, weightings which terms count; any of them can be combined.

Enters: logits (N, C), targets (N, C), weights (N,). Leaves: a scalar. To touch: a new weighting is its
settings, its class and a row of `weightings.WEIGHTINGS`; a new base is a row of `bases.BASES` and one of
`knowledge.KINDS` in teaching. `loss` multiplies them.
"""
