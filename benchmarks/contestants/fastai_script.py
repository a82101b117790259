"""fastai's fine-tuning: a script for the environment that has fastai.

As its documentation begins, with classes that are folders: pictures are resized by a crop, augmented by
aug_transforms and normalised as the weights want; a new head is trained for one epoch, then everything, with
fine_tune's own learning rates. Nothing else is set but the sizes of pictures and batches.

run     python fastai_script.py train DATA WEIGHTS ARCH SIZE BATCH_SIZE EPOCHS SEED FILE
        python fastai_script.py measure FILE FOLDER...      their accuracies
"""

import sys
from collections.abc import Callable

from fastai.vision.all import (
    ImageDataLoaders,
    Resize,
    accuracy,
    aug_transforms,
    get_image_files,
    load_learner,
    set_seed,
    vision_learner,
)


def train(
    data: str, weights: str, arch: str, size: str, batch_size: str, epochs: str, seed: str, file: str
) -> None:
    """Fine-tune on DATA's train, with its val watched; the learner of the last epoch goes into the file."""
    set_seed(int(seed), reproducible=True)
    loaders = ImageDataLoaders.from_folder(
        data, valid="val", item_tfms=Resize(int(size)), batch_tfms=aug_transforms(), bs=int(batch_size)
    )
    overlay = {"file": weights}  # for timm.create_model: the file instead of a download
    learner = vision_learner(loaders, arch, metrics=accuracy, pretrained_cfg_overlay=overlay)
    learner.fine_tune(int(epochs))
    learner.export(file)


def measure(file: str, *folders: str) -> None:
    """Print the accuracy, in [0, 1], on each folder of class folders, in one line: the last."""
    learner = load_learner(file)
    loaders = [learner.dls.test_dl(get_image_files(folder), with_labels=True) for folder in folders]
    with learner.no_bar():
        accuracies = [learner.validate(dl=loader)[1] for loader in loaders]
    print(f"\n{' '.join(map(str, accuracies))}")


COMMANDS: dict[str, Callable[..., None]] = {"train": train, "measure": measure}

if __name__ == "__main__":
    COMMANDS[sys.argv[1]](*sys.argv[2:])
