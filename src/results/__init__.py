"""Results: what a network is worth, as figures, tables, pictures and a file to ship.

Enters: probabilities (N, C) and labels (N,), a trained network. Leaves: metrics/, plots/,
data/predictions.csv, data/export/. To touch: a new figure is a line of `metrics.summary`; a new format is a
row of `export.FORMATS`.
"""
