"""The digits: stratified splits, a long-tailed train split, wrong labels in train only."""

import numpy as np
from sklearn.datasets import load_digits

from src.pictures.demo import DemoSettings, corrupt_labels, split_digits, write_pictures

PLAIN = dict(train=300, val=300, seed=0, imbalance=1.0, label_noise=0.0)


def count_digits(rows):
    return np.bincount(load_digits().target[rows]).tolist()


def test_splits_are_disjoint_and_balanced():
    splits = split_digits(DemoSettings(**PLAIN))
    assert [len(splits[split]) for split in ("train", "val", "test")] == [300, 300, 1197]
    assert len(set(np.concatenate(list(splits.values())))) == 1797
    assert max(count_digits(splits["train"])) - min(count_digits(splits["train"])) <= 2


def test_an_imbalanced_train_is_a_subset_and_leaves_val_and_test_unchanged():
    plain, tail = (split_digits(DemoSettings(**PLAIN | {"imbalance": ratio})) for ratio in (1.0, 10.0))
    assert set(tail["train"]) < set(plain["train"])
    assert np.array_equal(tail["val"], plain["val"]) and np.array_equal(tail["test"], plain["test"])
    sizes = count_digits(tail["train"])
    assert sizes == sorted(sizes, reverse=True) and sizes[0] == count_digits(plain["train"])[0]
    assert sizes[9] == round(count_digits(plain["train"])[9] / 10)


def test_a_share_of_labels_is_wrong():
    labels = np.repeat(np.arange(10), 30)
    noisy = corrupt_labels(labels, 0.2, seed=1)
    assert (noisy != labels).sum() == 60 and set(noisy) <= set(range(10))
    assert np.array_equal(corrupt_labels(labels, 0, seed=1), labels)


def test_only_train_has_wrong_labels(tmp_path):
    target = load_digits().target
    splits = split_digits(DemoSettings(**PLAIN | {"train": 50, "val": 50}))
    write_pictures(tmp_path, splits, label_noise=0.2, seed=0)
    wrong = {
        split: sum(
            int(path.parent.name) != target[int(path.stem)] for path in (tmp_path / split).glob("*/*.png")
        )
        for split in splits
    }
    assert wrong == {"train": 10, "val": 0, "test": 0}
