"""What a person runs beside the pipeline, each as `python -m tools.NAME` or by a make target."""
