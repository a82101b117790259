"""Fashion-MNIST is written as folders of padded pictures, with val drawn from train."""

import urllib.error
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from src.ground.errors import UserError
from tools import fashion_mnist


class Source(SimpleNamespace):
    """Stands for torchvision's FashionMNIST, with two classes."""

    def __len__(self):
        return len(self.targets)


@pytest.fixture
def sources(tmp_path, monkeypatch):
    """Twenty training pictures and six test pictures, in their own working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fashion_mnist, "VAL_OF_CLASS", 3)
    generator = torch.Generator().manual_seed(0)

    def make_source(number):
        data = torch.randint(1, 256, (number, 28, 28), generator=generator, dtype=torch.uint8)
        return Source(data=data, targets=torch.arange(number) % 2, classes=["T-shirt/top", "Bag"])

    parts = {True: make_source(20), False: make_source(6)}
    monkeypatch.setattr(fashion_mnist, "fetch", lambda train: parts[train])
    return parts


def test_pictures_are_padded_and_in_one_split_each(sources, tmp_path, capsys):
    fashion_mnist.main()
    folder = tmp_path / "data/fashion-mnist"
    counts = {split: len(list((folder / split).glob("*/*.png"))) for split in ("train", "val", "test")}
    assert counts == {"train": 14, "val": 6, "test": 6}
    assert len(list((folder / "val/T-shirt-top").glob("*.png"))) == 3
    names = {split: {path.name for path in (folder / split).glob("*/*")} for split in ("train", "val")}
    assert not names["train"] & names["val"] and len(names["train"] | names["val"]) == 20
    for path in folder.glob("*/*/*.png"):
        picture, source = np.asarray(Image.open(path)), sources[path.parts[-3] != "test"]
        row = int(path.stem)
        assert path.parent.name == ["T-shirt-top", "Bag"][source.targets[row]]
        assert picture.shape == (32, 32) and (picture[2:-2, 2:-2] == source.data[row].numpy()).all()
        assert picture.sum() == source.data[row].sum()  # the border is black
    fashion_mnist.main()
    assert "exists already; remove it to write it again" in capsys.readouterr().out


def test_an_interrupted_run_leaves_no_dataset(sources, tmp_path, monkeypatch):
    def raise_full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError):
        patch.setattr(Image.Image, "save", raise_full)
        fashion_mnist.main()
    assert not (tmp_path / "data/fashion-mnist").exists()
    fashion_mnist.main()
    assert len(list((tmp_path / "data/fashion-mnist").glob("*/*/*.png"))) == 26


def test_without_a_network_the_error_says_what_to_do(tmp_path, monkeypatch):
    def raise_offline(*_, **__):
        raise urllib.error.URLError("no route")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fashion_mnist, "DEBIAN", tmp_path / "nowhere")
    monkeypatch.setattr(fashion_mnist, "FashionMNIST", raise_offline)
    with pytest.raises(
        UserError, match="^data/fashion-mnist: cannot download Fashion-MNIST: .*apt-get install"
    ):
        fashion_mnist.fetch(train=True)
