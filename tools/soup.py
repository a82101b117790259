"""Average the weights of a table row's students, one per seed, which were fine-tuned from the same weights.

The row must have run: make ablation TABLE=... BatchNorm's statistics are renewed on plain training pictures.
Two soups are measured on val: of all students, and the greedy one, to which they are added from the
best to the worst, each unless val gets worse. The better soup is kept if it is better than the best student.
Nothing is measured on test. M. Wortsman et al., Model soups, 2022, arXiv:2203.05482.

params  those of train_student
reads   ablations.yaml, data/manifest/{train,val}.csv, data/packed/{train,val}.npy
        data/models/student.safetensors of the row's experiments, as DVC keeps it
writes  data/models/soup.safetensors    or removes it, if val does not agree
run     python -m tools.soup [--set KEY=VALUE ...] -- TABLE ROW [DATA]
"""

import stages  # noqa: F401  sets the CPU's instructions before torch is imported

# isort: split

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import dvc.api
import numpy as np
import torch
from dvc.exceptions import DvcException
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, update_bn

from src.batches.augment import OneByOne, Resize
from src.batches.data import TrainingSet
from src.batches.mixing import no_transforms
from src.ground.errors import Parser, UserError, run, shorten
from src.ground.files import sha256_of
from src.ground.params import read, read_top
from src.ground.validating import suggest
from src.ground.weights import NO_WEIGHTS
from src.losses.bases import BASES
from src.machine.runtime import MachineSettings, start_machine
from src.networks.checkpoint import Facts, load_model, save_weights
from src.networks.network import BATCH_NORM
from src.networks.predict import choose_batch_size
from src.pictures.reading import LearningPictures, read_learning_pictures
from src.teaching.labels import LabelTargets, draw_fraction
from src.training.averaging import read_images
from src.training.validation import Validation
from stages.train_student import OUTPUTS
from tools.ablation.clone import CLONE, run_git
from tools.ablation.recorded import find_recorded, group_reasons
from tools.ablation.tables import Row, read_table

SOUP = Path("data/models/soup.safetensors")
ALIKE = "arch base classes height width fit mean std data pretrained".split()  # facts of all
CPU = torch.device("cpu")


class Student(NamedTuple):
    """One of the row's students."""

    name: str  # of its experiment
    network: nn.Module
    facts: Facts


class Measured(NamedTuple):
    """A network and what it reaches on val."""

    network: nn.Module
    names: tuple[str, ...]  # of the students whose mean it is
    accuracy: float  # in [0, 1]
    loss: float

    @property
    def rank(self) -> tuple[float, float]:
        """The higher, the better: by accuracy and, if equal, by loss."""
        return self.accuracy, -self.loss


def main() -> None:
    parser = Parser(prog="python -m tools.soup")
    parser.add_argument("table")
    parser.add_argument("row")
    parser.add_argument("data", nargs="?", default="demo")
    parser.add_argument("--set", nargs="*", default=[], help="overrides of params.yaml, as for the table")
    arguments = parser.parse_args()
    row, recorded = find_experiments(arguments.table, arguments.row, arguments.data, arguments.set)
    start_machine(replace(read_top(MachineSettings), device="cpu", processes=1), seed=0)
    students = [read_student(name, rev) for name, rev in recorded.items()]
    pictures = read_learning_pictures(read(str, "images.fit"), read(bool, "images.dct_scaling"))
    check_students(students, sha256_of([pictures.train.sha256, pictures.val.sha256]), pictures.fit)
    validation = build_validation(pictures, students[0].facts)
    data = build_plain_data(pictures, row.params["student.fraction"], row.params["student.batch_size"])
    best, soup = cook(students, validation, data)
    if soup.rank <= best.rank:
        SOUP.unlink(missing_ok=True)
        print(f"not kept: on val no better than {best.names[0]} alone")
        return
    used = [one.facts.params for one in students if one.name in soup.names]
    save_weights(SOUP, soup.network, replace(students[0].facts, params=sha256_of(used)))
    print(f"{SOUP}: written (make evaluate WEIGHTS={SOUP})")


def find_experiments(
    table_name: str, label: str, data: str, more: Sequence[str]
) -> tuple[Row, dict[str, str]]:
    """A table's row, and the commits of its experiments by name, which count as in `make ablation`."""
    table = read_table(table_name, data, more)
    rows = {row.label: row for row in table.rows}
    if label not in rows:
        hint = suggest(label, list(rows)) or f" ({', '.join(rows)})"
        raise UserError(f"ablations.yaml: tables.{table_name}.rows: no row {label!r} on {data}{hint}")
    row, command = rows[label], f"make ablation TABLE={table_name} DATA={data}"
    if row.params["student.pretrained"] == NO_WEIGHTS:
        raise UserError(
            f"{label}: student.pretrained is none: each seed starts from weights of its own, whose mean is "
            "no network (use a row with pretrained weights)"
        )
    if not CLONE.exists():
        raise UserError(f"{label}: not run yet ({command} runs it)")
    counted, reasons = find_recorded(table, run_git("rev-parse", "HEAD").strip())
    own = [name for name, one, _ in table.list_experiments() if one is row]
    if sum(name in counted for name in own) < 2:
        for line in group_reasons({name: reasons[name] for name in own if name in reasons}):
            print(line)
        raise UserError(f"{label}: fewer than two seeds are recorded ({command} runs them)")
    return row, {name: counted[name].rev for name in own if name in counted}


def read_student(name: str, rev: str) -> Student:
    """The student of an experiment, from DVC's cache or remote."""
    try:
        with dvc.api.open(str(OUTPUTS.weights), rev=rev, mode="rb") as file:
            content = file.read()
    except (DvcException, OSError) as error:
        text = shorten(error, 200)
        raise UserError(f"{name}: {OUTPUTS.weights}: {text} (run the table again, or dvc pull)") from None
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.safetensors"
        path.write_bytes(content)
        return Student(name, *load_model(path))


def check_students(students: Sequence[Student], data: str, fit: str) -> None:
    """Refuse students whose mean is no network, or whose pictures had another hash or fit than these."""
    first = students[0]
    if (first.facts.data, first.facts.fit) != (data, fit):
        raise UserError(
            f"{first.name}: trained on other pictures than those in data/packed (set data and images to "
            "those of the table, then dvc repro check_images)"
        )
    for one in students:
        if one.facts.pretrained == NO_WEIGHTS:
            raise UserError(f"{one.name}: started from random weights (use a row with pretrained weights)")
        for key in ALIKE:
            own, other = getattr(one.facts, key), getattr(first.facts, key)
            if own != other:
                what = f"{shorten(own, 40)}, that of {first.name} is {shorten(other, 40)}"
                raise UserError(f"{one.name}: its {key} is {what} (run the table again)")


def build_validation(pictures: LearningPictures, facts: Facts) -> Validation:
    """Measures a network on val."""
    truth = LabelTargets(pictures.val.labels, len(facts.classes))
    at_once = choose_batch_size("auto", facts.height, facts.width)
    return Validation(pictures.val_pictures, truth, BASES[facts.base], at_once, CPU)


def build_plain_data(pictures: LearningPictures, fraction: float, batch_size: int) -> TrainingSet:
    """The pictures that BatchNorm's statistics are taken from: a student's, shuffled, not augmented."""
    height, width = pictures.size
    targets = LabelTargets(pictures.train.labels, len(pictures.train.classes))
    return TrainingSet(
        pictures=pictures.train_pictures,
        targets=targets,
        soft=[targets],
        weights=np.ones(len(pictures.train.labels)),
        rows=draw_fraction(pictures.train.labels, fraction, seed=0),
        augment=OneByOne(Resize(height, width)),
        transforms=no_transforms,
        batch_size=batch_size,
        seed=0,
        view_seed=0,
        workers=0,
    )


def cook(students: Sequence[Student], validation: Validation, data: TrainingSet) -> tuple[Measured, Measured]:
    """The best student and the better soup, as measured on val; prints all figures."""

    def measure(some: Sequence[Student]) -> Measured:
        network = average([one.network for one in some], data) if len(some) > 1 else some[0].network
        return Measured(network, tuple(one.name for one in some), *validation.measure(network))

    alone = sorted((measure([one]) for one in students), key=lambda one: one.rank, reverse=True)
    by_name = {one.name: one for one in students}
    soup = greedy = alone[0]
    for one in alone[1:]:
        more = measure([by_name[name] for name in (*greedy.names, *one.names)])
        greedy = more if more.rank >= greedy.rank else greedy
    soup = measure(students)
    mean = sum(one.accuracy for one in alone) / len(alone)
    print(f"on val: mean of {len(alone)} students: accuracy {mean:.4f}")
    for label, one in {
        "best student": alone[0],
        f"soup of {len(students)}": soup,
        f"greedy soup of {len(greedy.names)}": greedy,
    }.items():
        print(f"on val: {label}: accuracy {one.accuracy:.4f}, loss {one.loss:.4f}")
    return alone[0], max(soup, greedy, key=lambda one: one.rank)


def average(networks: Sequence[nn.Module], data: TrainingSet) -> nn.Module:
    """The mean of the networks' weights; BatchNorm's statistics, unless they are the same, are of `data`."""
    whole = AveragedModel(networks[0])
    for network in networks:
        whole.update_parameters(network)
    statistics = [list_statistics(network) for network in networks]
    if any(not torch.equal(one, statistics[0]) for one in statistics):
        update_bn(read_images(data, 1, CPU, lambda: None), whole)
    return whole.module.eval()


def list_statistics(network: nn.Module) -> Tensor:
    """The running means and variances of every BatchNorm in a row; empty if there are none."""
    norms = [module for module in network.modules() if isinstance(module, BATCH_NORM)]
    buffers = [buffer for norm in norms for buffer in (norm.running_mean, norm.running_var)]
    return torch.cat([torch.empty(0), *(buffer for buffer in buffers if buffer is not None)])


if __name__ == "__main__":
    run(main)
