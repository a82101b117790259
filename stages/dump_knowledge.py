"""Write down what every teacher believes of the training pictures, seen plain, without augmentation.

params  knowledge, device, threads, cpu_isa, processes, images.dct_scaling
reads   data/models/teachers      NAME.safetensors; a teacher that is no longer listed is removed there
        data/external             distill*.txt, knowledge from elsewhere
        data/manifest/classes.json
        data/manifest/{train,val}.csv
        data/packed/{train,val}.npy
writes  data/distill              distill_NAME.txt: path, a probability per class
        data/label.txt            the same with the labels, 1 for the true class
run     python -m stages.dump_knowledge
"""

from pathlib import Path

from src.ground.errors import UserError, run
from src.ground.params import read
from src.losses.bases import BASES
from src.machine.distributed import is_main
from src.machine.runtime import start
from src.networks.checkpoint import load_model
from src.networks.predict import predict_probs
from src.pictures.manifest import read_manifest
from src.pictures.reading import at_size, read_pictures
from src.teaching.knowledge import PATTERN, Knowledge, KnowledgeSettings, read_knowledge, write_knowledge

TEACHERS = Path("data/models/teachers")
EXTERNAL = Path("data/external")
DISTILL = Path("data/distill")
LABELS = Path("data/label.txt")


def main() -> None:
    settings = read(KnowledgeSettings, "knowledge")
    processes = read(int, "processes")
    device = start(read(str, "device"), read(int, "threads"), read(str, "cpu_isa"), 0, processes)
    train, val = read_manifest("train"), read_manifest("val")
    dct_scaling = read(bool, "images.dct_scaling")
    val_pictures = read_pictures("val", dct_scaling)
    train_pictures = at_size(read_pictures("train", dct_scaling), *val_pictures.shape[1:3])
    DISTILL.mkdir(parents=True, exist_ok=True)

    if is_main():
        for path in TEACHERS.glob("*.safetensors"):
            if path.stem not in settings.teachers:
                path.unlink()
    for name in settings.teachers:
        model, facts = load_model(TEACHERS / f"{name}.safetensors")
        model.to(device)
        on_val = predict_probs(model, val_pictures, BASES[facts.base], settings.batch_size, device)
        accuracy = float((on_val.argmax(axis=1) == val.labels).mean())
        if accuracy < settings.min_accuracy:
            raise UserError(
                f"teacher {name}: accuracy {accuracy:.4f} on val is below knowledge.min_accuracy "
                f"{settings.min_accuracy} (train it better, or take it out of knowledge.teachers)"
            )
        probs = predict_probs(model, train_pictures, BASES[facts.base], settings.batch_size, device)
        if is_main():
            knowledge = Knowledge(facts.base, probs)
            write_knowledge(DISTILL / f"distill_{name}.txt", knowledge, train.paths, train.classes)
        on_train = (probs.argmax(axis=1) == train.labels).mean()
        print(f"teacher {name}: accuracy {accuracy:.4f} on val, {on_train:.4f} on train")
    if is_main():
        for path in sorted(EXTERNAL.glob(PATTERN)):
            knowledge = read_knowledge(path, train.paths, train.classes)
            write_knowledge(DISTILL / f"distill_external_{path.name}", knowledge, train.paths, train.classes)
        truth = Knowledge("softmax", train.one_hot())
        write_knowledge(LABELS, truth, train.paths, train.classes)


if __name__ == "__main__":
    run(main)
