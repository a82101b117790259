"""Commands outside the pipeline, each run as `python -m tools.NAME` or through a make target."""
