"""Ablation tables: rows of settings, run as DVC experiments over the same seeds and compared in pairs.

Enters: ablations.yaml, params.yaml, the last commit. Leaves: one DVC experiment per row and seed, named
TABLE-DATA-ROW-SEED; per table a CSV, its markdown and its picture, every difference with a confidence
interval. To touch: a new table or dataset is an entry in ablations.yaml, what such an entry may hold is in
`tables` and ablations.schema.json, what is estimated is in `paired`, how it looks is in `report`. `clone` and
`runner` know nothing of statistics, `paired` and `report` nothing of DVC.
"""
