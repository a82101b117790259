"""Sources left out of dvc.yaml cannot change a result: without them a training writes the same bytes."""

import ast
from contextlib import contextmanager

from conftest import ROOT

import stages.train_student
from tools.deps import INERT

REPLACED = {  # names from INERT files that other sources use
    "src.training.fit": {"Display", "Stop", "State", "print_resumption"},
    "src.training.assembly": {"open_state"},
    "stages.train_teacher": {"rehearse"},
}


class Silent:
    """Replaces Display, Stop and State; does nothing."""

    def __init__(self, *_):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def show_batches(self, batches, *_):
        return batches

    def do_nothing(self, *_, **__):
        return None

    print_epoch = raise_if_asked = track = restore = save = save_if_cheap = do_nothing


@contextmanager
def run_without_a_state(*_):
    yield Silent()


def train():
    for path in stages.train_student.OUTPUTS:
        path.unlink(missing_ok=True)
    stages.train_student.main()
    return {path: path.read_bytes() for path in stages.train_student.OUTPUTS}


def test_a_training_without_inert_sources_writes_the_same_bytes(ready, monkeypatch, capsys):
    whole = train()
    assert "epoch 3/3: loss" in capsys.readouterr().out
    for name in ("Display", "Stop"):
        monkeypatch.setattr(f"src.training.fit.{name}", Silent)
    monkeypatch.setattr("src.training.assembly.open_state", run_without_a_state)
    assert train() == whole
    assert "epoch" not in capsys.readouterr().out


def test_nothing_else_of_inert_sources_is_used():
    """The other sources import from INERT files only what the test above replaces, and a rehearsal.

    tests/test_rehearsal.py shows that this draws no random number.
    """
    inert = {path.removesuffix(".py").replace("/", ".") for path in INERT}
    used = {}
    for path in sorted([*ROOT.glob("src/**/*.py"), *ROOT.glob("stages/*.py")]):
        if str(path.relative_to(ROOT)) in INERT:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module in inert:
                module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
                used.setdefault(module, set()).update(alias.name for alias in node.names)
    assert used == REPLACED
    assert all((ROOT / path).is_file() and reason for path, reason in INERT.items())
