"""Ablation tables: rows of settings, run as DVC experiments over the same seeds and compared in pairs.

Enters: ablations.yaml, params.yaml, the last commit. Leaves: one DVC experiment per row and seed, named
TABLE-DATA-ROW-SEED; per table a CSV, a markdown table and a plot, each difference with a confidence interval
and its p, also adjusted for the number of rows; on the terminal, what so many seeds would show.
To touch: a new table or dataset is an entry in ablations.yaml; `tables` and ablations.schema.json define such
entries, `paired` and `power` the statistics, `report` the layout; `engine` hands experiments to Dask's
workers, `alone` runs one there, `remotes` is how they share files. `clone`, `runner` and these three know
nothing of statistics, `paired`, `power` and `report` nothing of DVC.
"""
