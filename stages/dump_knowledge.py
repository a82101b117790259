"""Write every teacher's predictions for the training pictures, without augmentation.

params  knowledge, device, threads, cpu_isa, tf32, processes, images.fit, images.dct_scaling
reads   data/models/teachers      NAME.safetensors for each of knowledge.teachers
        data/external             distill*.txt: knowledge from outside the pipeline
        data/manifest/classes.json
        data/manifest/grey_range.json
        data/manifest/{train,val}.csv
        data/packed/{train,val}.npy
writes  data/distill              distill_NAME.txt: path, a probability per class; or no_teacher.txt
        data/label.txt            the same for the labels: 1 for the true class
removes metrics and plots of teachers that are not in knowledge.teachers
run     python -m stages.dump_knowledge
"""

from functools import partial
from pathlib import Path

from src.ground.errors import run
from src.ground.params import read, read_top
from src.losses.bases import BASES
from src.machine.collectives import is_main, run_on_main
from src.machine.runtime import MachineSettings, start_machine
from src.networks.checkpoint import check_facts, load_model
from src.networks.predict import choose_batch_size, predict_probs
from src.pictures.reading import read_learning_pictures, resize_pictures
from src.teaching.knowledge import Knowledge
from src.teaching.knowledge_file import PATTERN, name_file, read_knowledge, write_knowledge, write_probs
from src.teaching.labels import LabelTargets
from src.teaching.teachers import KnowledgeSettings, check_teacher, find_dropped, find_dropped_figures

TEACHERS = Path("data/models/teachers")
EXTERNAL = Path("data/external")
DISTILL = Path("data/distill")
NO_TEACHER = DISTILL / "no_teacher.txt"  # DVC warns of an empty folder at each stage
LABELS = Path("data/label.txt")


def main() -> None:
    settings, fit = read(KnowledgeSettings, "knowledge"), read(str, "images.fit")
    device = start_machine(read_top(MachineSettings), seed=0)
    pictures = read_learning_pictures(fit, read(bool, "images.dct_scaling"))
    train, val = pictures.train, pictures.val
    train_pictures = resize_pictures(pictures.train_pictures, *pictures.size)
    DISTILL.mkdir(parents=True, exist_ok=True)
    for path in find_dropped(TEACHERS, settings.teachers):
        print(f"warning: {path}: not in knowledge.teachers, but recorded in dvc.lock (make repro removes it)")
    if is_main():
        for path in find_dropped_figures(settings.teachers):
            path.unlink()
            print(f"{path}: removed, it is not in knowledge.teachers")

    for name in settings.teachers:
        weights = TEACHERS / f"{name}.safetensors"
        model, facts = load_model(weights)
        check_facts(weights, facts, train.classes, pictures.size, fit)
        model.to(device)
        base, batch_size = BASES[facts.base], choose_batch_size(settings.batch_size, *pictures.size)
        on_val = predict_probs(model, pictures.val_pictures, base, batch_size, device)
        accuracy = check_teacher(name, on_val, val.labels, settings.min_accuracy)
        probs = predict_probs(model, train_pictures, base, batch_size, device)
        path, knowledge = name_file(DISTILL, name), Knowledge(facts.base, probs)
        run_on_main(partial(write_knowledge, path, knowledge, train.paths, train.classes))
        on_train = (probs.argmax(axis=1) == train.labels).mean()
        print(f"teacher {name}: accuracy {accuracy:.4f} on val, {on_train:.4f} on train")
    if is_main():
        for path in sorted(EXTERNAL.glob(PATTERN)):
            knowledge = read_knowledge(path, train.paths, train.classes)
            write_knowledge(DISTILL / f"distill_external_{path.name}", knowledge, train.paths, train.classes)
        if not any(DISTILL.iterdir()):
            NO_TEACHER.write_text("knowledge.teachers is empty, and so is data/external\n", encoding="utf-8")
        truth = LabelTargets(train.labels, len(train.classes))
        write_probs(LABELS, "softmax", truth, train.paths, train.classes)


if __name__ == "__main__":
    run(main, arguments=[])
