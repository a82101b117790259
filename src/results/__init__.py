"""Results: the quality of a network, as metrics, tables and plots.

Enters: probabilities (N, C) and labels (N,), a trained network. Leaves: metrics/, plots/,
data/predictions.csv, data/classes.csv. To touch: a new metric is a line of `metrics.summarize`; how names are
drawn is in `lettering`.
"""
