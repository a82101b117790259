"""params.yaml with other values for a while, in the grammar of `dvc exp run -S`."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from dvc.utils.hydra import apply_overrides

import src.ground.params


@contextlib.contextmanager
def params(overrides: Sequence[str]) -> Iterator[None]:
    """What `read` and its like see is params.yaml with these overrides, for as long as the context lasts."""
    shipped = src.ground.params.PARAMS
    with tempfile.TemporaryDirectory() as folder:
        changed = Path(folder) / "params.yaml"
        shutil.copy(shipped, changed)
        apply_overrides(changed, list(overrides))
        src.ground.params.PARAMS = changed
        try:
            yield
        finally:
            src.ground.params.PARAMS = shipped
