"""Train the student on the labels, the teachers' knowledge and the curriculum, or on any of them.

params  student, loss, seed, augment, weighting, distill, device, threads, cpu_isa, workers
reads   data/distill                         distill_NAME.txt: path, a probability per class
        data/curriculum.txt                  path, weight
        data/manifest/classes.json
        data/manifest/{train,val}.csv
        data/packed/{train,val}.npy
writes  data/models/student.safetensors      the weights of the best epoch on val
        metrics/student.json
        plots/student.csv                    a row per epoch
run     python -m stages.train_student
"""

from dataclasses import asdict
from pathlib import Path

from src.augment import AugmentSettings, build_augment
from src.checkpoint import facts_of, save_weights
from src.curriculum import read_weights
from src.curves import Curves
from src.data import TrainingSet
from src.errors import run
from src.files import write_json
from src.knowledge import read_folder
from src.losses import WeightingSettings, build_loss
from src.manifest import read_manifest, read_pack
from src.models import build_model
from src.params import read
from src.runtime import start
from src.settings import StudentSettings
from src.targets import DistillSettings, distilled, sample_weights
from src.training import Validation, fit

DISTILL = Path("data/distill")
CURRICULUM = Path("data/curriculum.txt")
WEIGHTS = Path("data/models/student.safetensors")
METRICS = Path("metrics/student.json")
CURVES = Path("plots/student.csv")


def main() -> None:
    settings, augment = read(StudentSettings, "student"), read(AugmentSettings, "augment")
    recipe, weighting, distill = (
        read(str, "loss"),
        read(WeightingSettings, "weighting"),
        read(DistillSettings, "distill"),
    )
    seed = read(int, "seed")
    device = start(read(str, "device"), read(int, "threads"), read(str, "cpu_isa"), seed)
    train, val, pack = read_manifest("train"), read_manifest("val"), read_pack("train")
    knowledge = read_folder(DISTILL, train.paths, train.classes)

    model = build_model(settings.arch, len(train.classes), settings.pretrained, "student")
    loss = build_loss(recipe, weighting)
    data = TrainingSet(
        pack=pack,
        targets=distilled(train.one_hot(), knowledge, loss.base.name, distill),
        weights=sample_weights(read_weights(CURRICULUM, train.paths), settings.curriculum),
        augment=build_augment(augment),
        batch_size=settings.batch_size,
        seed=seed,
        workers=read(int, "workers"),
    )
    validation = Validation(
        pack=read_pack("val"),
        targets=val.one_hot(),
        base=loss.base,
        batch_size=settings.batch_size,
        device=device,
    )
    with Curves(CURVES, "student") as curves:
        best = fit(model, loss, data, validation, settings, curves, "student")
    params = [asdict(part) for part in (settings, augment, weighting, distill)] + [recipe, seed]
    facts = facts_of(model, settings.arch, settings.pretrained, loss.base.name, train.classes, pack, params)
    save_weights(WEIGHTS, model, facts)
    write_json(METRICS, {"student": best.metrics()})


if __name__ == "__main__":
    run(main)
