"""Draw where a network looks: heat maps of pictures of any split, by any weights file, augmented too.

A row per picture: it, the map of the predicted class, that of the true one.

params  data.root, data.max_pixels, images.fit, images.dct_scaling, augment, seed, threads, cpu_isa
reads   a weights file, data/manifest, data/packed, the picture files
writes  .scratch/heatmaps/NAME-SPLIT-METHOD.png
run     python -m tools.heatmaps [--weights FILE --split SPLIT --method METHOD --pictures 12 --pick random]
                                 [--augmented]
"""

import stages  # noqa: F401  sets the CPU's instructions before torch is imported

# isort: split

from argparse import ArgumentTypeError
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image

from src.batches.batch import scale_to_unit
from src.batches.views import list_views
from src.ground.errors import Parser, UserError, run
from src.ground.errors import cut as cut_text
from src.ground.params import find_value, read, read_top
from src.losses.bases import BASES
from src.machine.runtime import MachineSettings, start_machine
from src.networks.checkpoint import load_model
from src.networks.last_map import find_cut
from src.pictures.grey import read_grey_range
from src.pictures.manifest import SPLITS, read_manifest
from src.pictures.reading import Pictures, read_pictures, resize_pictures
from src.report.overlay import SIDE, overlay
from src.report.picks import PICKS, find_share
from src.report.thumbnails import Thumbnails
from src.results.drawing import save_figure
from src.results.heatmaps import METHODS
from src.results.lettering import letter_names, letter_text
from src.results.measuring import score
from src.results.predictions import Predictions
from src.teaching.views import pick_single
from stages.evaluate import STUDENT

FOLDER = Path(".scratch/heatmaps")
MOST = 64  # pictures


def main() -> None:
    parser = Parser(prog="python -m tools.heatmaps")
    parser.add_argument("--weights", type=Path, default=STUDENT, help="a weights file that a stage wrote")
    parser.add_argument("--split", choices=SPLITS, default="test")
    parser.add_argument("--method", choices=METHODS, default="grad-cam")
    parser.add_argument("--pictures", type=parse_count, default=12, metavar=f"1-{MOST}")
    parser.add_argument("--pick", choices=PICKS, default="random")
    parser.add_argument(
        "--augmented", action="store_true", help="as the student sees them in its first epoch"
    )
    given = parser.parse_args()
    fit, dct_scaling = read(str, "images.fit"), read(bool, "images.dct_scaling")
    machine = replace(read_top(MachineSettings), processes=1, device="cpu")
    device = start_machine(machine, seed=0)
    told = score(given.weights, given.split, "auto", fit, dct_scaling, device).predict()
    rows = PICKS[given.pick](told)[: given.pictures].tolist()
    if not rows:
        raise UserError(f"--pick {given.pick}: there is none on {given.split} (pick unsure or random)")
    network, facts = load_model(given.weights)
    size, paths = (facts.height, facts.width), read_manifest(given.split).paths
    pictures: Pictures = resize_pictures(read_pictures(given.split, fit, dct_scaling), *size)
    if given.augmented:
        augment = pick_single(find_value("augment"))
        pictures = list_views(pictures, augment, read(int, "seed"), 1, size, device)[0]
        fit = "stretch"  # what is drawn on is the network's input itself
    seen = np.asarray(pictures[rows])
    files = Thumbnails(Path(read(str, "data.root")), read(int, "data.max_pixels"), read_grey_range(), SIDE, 0)
    if given.augmented:
        shown = [Image.fromarray(one) for one in seen]
    else:
        shown = [open_file(files, paths[row]) for row in rows]
    cut = find_cut(network, size, f"{given.weights}: {facts.arch}")
    last = cut(scale_to_unit(torch.from_numpy(seen).permute(0, 3, 1, 2)))
    probs = BASES[facts.base].probs(last.logits.detach().double()).numpy()
    found = Predictions(facts.classes, told.labels[rows], probs)
    names, columns = (
        letter_names(facts.classes),
        [[(one, letter_text(paths[row])) for one, row in zip(shown, rows, strict=True)]],
    )
    for classes in (found.predicted, found.labels):
        try:
            heats = METHODS[given.method](cut, last, torch.from_numpy(classes)).detach().clamp(min=0).numpy()
        except UserError as error:
            raise UserError(f"{given.weights}: {error}") from None
        texts = [f"{names[one]} {find_share(found, row, one):.0%}" for row, one in enumerate(classes)]
        drawn = [overlay(image, heat, size, fit) for image, heat in zip(shown, heats, strict=True)]
        columns.append(list(zip(drawn, texts, strict=True)))
    path = FOLDER / f"{given.weights.stem}-{given.split}-{given.method}{'-augmented' * given.augmented}.png"
    draw(path, columns)
    count = "1 picture" if len(rows) == 1 else f"{len(rows)} pictures"
    print(f"{path}: {count}, the predicted class and the true one, cut at {cut.place}")


def parse_count(text: str) -> int:
    """The number of pictures that a text says."""
    if not text.isdecimal() or not 1 <= int(text[:9]) <= MOST:
        raise ArgumentTypeError(f"must be a whole number from 1 to {MOST}, got {cut_text(text)!r}")
    return int(text)


def open_file(pictures: Thumbnails, path: str) -> Image.Image:
    """The picture at a path below the root, upright RGB."""
    image = pictures.open(path)
    if image is None:
        raise UserError(f"{pictures.root / path}: gone or unreadable (run dvc repro, or draw others)")
    return image


def draw(path: Path, columns: list[list[tuple[Image.Image, str]]]) -> None:
    """Draw columns of pictures with a text above each, which went through `letter_names` or `letter_text`."""
    figure = Figure(figsize=(2.1 * len(columns), 2.2 * len(columns[0])), layout="constrained")
    axes = figure.subplots(len(columns[0]), len(columns), squeeze=False)
    for number, column in enumerate(columns):
        for axis, (image, text) in zip(axes[:, number], column, strict=True):
            axis.imshow(image)
            axis.set_axis_off()
            axis.set_title(text, fontsize=6)
    save_figure(path, figure)


if __name__ == "__main__":
    run(main)
