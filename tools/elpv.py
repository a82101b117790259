"""Write the ELPV dataset as picture files: 2,624 solar cells by electroluminescence, in four classes.

A class is the probability of a defect that experts gave a cell. S. Deitsch et al., Automatic classification
of defective photovoltaic module cells in electroluminescence images, 2019, arXiv:1807.02894. The pictures are
not changed. Of each class and kind of cell (mono- or polycrystalline) 15 % are test and 15 % val, chosen by a
hash of the file: the split is always the same. Fifty cells are in the dataset twice, once less sharp; both
photos of a cell are in the same split. Which of the 44 modules a cell is from is not published, so cells of
one module may be in several splits.

The licence is CC BY-NC-SA 4.0: not for commercial use, and what is made from it is shared alike.

reads   PyPI's elpv-dataset, with pip
writes  data/elpv               {train,val,test}/<class>/<name>-{mono,poly}.png, grey, 300 x 300 pixels
        data/elpv/LICENSE.md    the licence, and whom to cite
run     python -m tools.elpv
"""

import hashlib
import shutil
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from src.ground.errors import run
from src.ground.files import sync_folder
from tools.pypi import Package, open_wheel, read_licence

FOLDER = Path("data/elpv")
PACKAGE = Package(
    "elpv-dataset", "1.0.0.post1", "85e31c1126ee9b48e62d3a0232c58f58b2d189b0814a45c13642fa0415af4a4c"
)
LABELS = "elpv_dataset/data/labels.csv"  # rows of: path beside it, probability of a defect, mono or poly
CLASSES = {0: "000-intact", 33: "033-perhaps", 67: "067-probably", 100: "100-defective"}  # by percent
SHARE = 0.15  # of val, and of test
FIRST = {number + 542: number for number in range(1735, 1785)}  # number of a second photo -> of the first
SUMMARY = "CC BY-NC-SA 4.0: not for commercial use; what is made from it is shared alike"
ORIGIN = f"""\
# The ELPV dataset

From PyPI's package {PACKAGE.name} {PACKAGE.version}; the pictures are unchanged, folders and names are not.
{SUMMARY}; the full text is below. Cite:

- C. Buerhop-Lutz, S. Deitsch, A. Maier, F. Gallwitz, S. Berger, B. Doll, J. Hauch, C. Camus, C. Brabec, A
  Benchmark for Visual Identification of Defective Solar Cells in Electroluminescence Imagery, EU PVSEC, 2018
- S. Deitsch, V. Christlein, S. Berger, C. Buerhop-Lutz, A. Maier, F. Gallwitz, C. Riess, Automatic
  classification of defective photovoltaic module cells in electroluminescence images, Solar Energy 185, 2019
- S. Deitsch, C. Buerhop-Lutz, E. Sovetkin, A. Steland, A. Maier, F. Gallwitz, C. Riess, Segmentation of
  photovoltaic module cells in uncalibrated electroluminescence images, Machine Vision and Applications, 2021

"""


class Cell(NamedTuple):
    """A picture's file, and where it goes."""

    number: int
    label: str
    kind: str  # mono or poly
    content: bytes

    @property
    def name(self) -> str:
        return f"cell{self.number:04d}-{self.kind}.png"


def main() -> None:
    if FOLDER.exists():
        print(f"{FOLDER}: exists already; remove it to write it again")
        return
    with open_wheel(PACKAGE, FOLDER) as wheel:
        splits, licence = split(read_cells(wheel)), read_licence(wheel)
    unfinished = FOLDER.with_name(f".{FOLDER.name}.tmp")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        for name, cells in splits.items():
            write_pictures(unfinished / name, cells)
        (unfinished / "LICENSE.md").write_text(ORIGIN + licence, encoding="utf-8")
        unfinished.rename(FOLDER)
    except OSError as error:
        error.filename = error.filename or str(FOLDER)  # the error of a full disk names no file
        raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    sync_folder(FOLDER.parent)
    print(f"{FOLDER}: " + ", ".join(f"{len(cells)} {name}" for name, cells in splits.items()))
    print(f"{FOLDER}/LICENSE.md: {SUMMARY}")


def read_cells(wheel: zipfile.ZipFile) -> Iterator[Cell]:
    """Every picture of the package, in its order."""
    for line in wheel.read(LABELS).decode().splitlines():
        path, probability, kind = line.split()
        label = CLASSES[round(100 * float(probability))]
        number = int(PurePosixPath(path).stem.removeprefix("cell"))
        yield Cell(number, label, kind, wheel.read(str(PurePosixPath(LABELS).parent / path)))


def split(cells: Iterator[Cell]) -> dict[str, list[Cell]]:
    """The cells of train, val and test: of each class and kind the same shares, by the hash of the file.

    The second photo of a cell goes where the first is.
    """
    strata, seconds = defaultdict(list), []
    for cell in cells:
        if cell.number in FIRST:
            seconds.append(cell)
        else:
            strata[cell.label, cell.kind].append(cell)
    splits: dict[str, list[Cell]] = {"train": [], "val": [], "test": []}
    for stratum in strata.values():
        stratum.sort(key=lambda cell: hashlib.sha256(cell.content).digest())
        count = round(SHARE * len(stratum))
        splits["test"] += stratum[:count]
        splits["val"] += stratum[count : 2 * count]
        splits["train"] += stratum[2 * count :]
    split_of = {cell.number: name for name, cells in splits.items() for cell in cells}
    for cell in seconds:
        splits[split_of[FIRST[cell.number]]].append(cell)
    return splits


def write_pictures(folder: Path, cells: list[Cell]) -> None:
    """Write the cells as <class>/<name> under `folder`."""
    for label in CLASSES.values():
        (folder / label).mkdir(parents=True)
    for cell in cells:
        (folder / cell.label / cell.name).write_bytes(cell.content)


if __name__ == "__main__":
    run(main)
