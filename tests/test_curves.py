"""Curves are written to disk after every epoch, with or without TensorBoard."""

import src.training.curves
from src.training.curves import Curves, Row


def test_rows_are_written_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(src.training.curves, "TENSORBOARD", tmp_path / "board")
    with Curves(tmp_path / "plots/x.csv", "student") as curves:
        curves.add(Row(1, 0.001, 1 / 3, 2.0, 0.5))
        lines = (tmp_path / "plots/x.csv").read_text().splitlines()
        assert lines == ["epoch,lr,train_loss,val_loss,val_accuracy", "1,0.001,0.333333333,2,0.5"]
    assert len(list(tmp_path.glob("board/student/*/events*"))) == 1


def test_a_failure_of_tensorboard_is_only_a_warning(tmp_path, monkeypatch, capsys):
    (tmp_path / "board").write_text("a file where the folder should be")
    monkeypatch.setattr(src.training.curves, "TENSORBOARD", tmp_path / "board")
    with Curves(tmp_path / "x.csv", "student") as curves:
        curves.add(Row(1, 0.001, 1.0, 2.0, 0.5))
    assert len((tmp_path / "x.csv").read_text().splitlines()) == 2
    assert "training continues without TensorBoard" in capsys.readouterr().out
