"""Results: the quality of a network, as metrics, tables and plots, and the file to ship.

Enters: probabilities (N, C) and labels (N,), a trained network. Leaves: metrics/, plots/,
data/predictions.csv, data/classes.csv, data/export/. To touch: a new metric is a line of
`metrics.summarize`; a new format is a row of `export.FORMATS`; how names are drawn is in `lettering`.
"""
