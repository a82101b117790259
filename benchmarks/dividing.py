"""What it costs to divide a folder of pictures, beside checking them: near duplicates, splits, packs.

Photos are generated JPEGs, checked as check_images does. The many pictures that are divided are small, smooth
ones, hashed like photos; a tenth of them are near duplicates of others. Seconds of CPU, in one process.

run     python -m benchmarks.dividing
"""

import tempfile
from contextlib import chdir
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import process_time

import numpy as np
from PIL import Image

from benchmarks.loading import make_pictures
from src.ground.params import read
from src.pictures.assigning import list_pictures
from src.pictures.checking import SHARED, Checks, find_shape
from src.pictures.decode import decode
from src.pictures.fitting import LETTERBOX
from src.pictures.folders import Source
from src.pictures.likeness import find_likeness
from src.pictures.manifest import SPLITS, PackWriter
from src.pictures.opening import check_file
from src.pictures.settings import DataSettings, ImageSettings
from src.pictures.splits import find_alike, judge, write_split

WIDTH, HEIGHT, PHOTOS = 400, 533, 200
SIDE = 224  # of packed pictures
PICTURES, CLASSES, COPIES = 100_000, 100, 0.1


def main() -> None:
    data = read(DataSettings, "data")
    images = replace(read(ImageSettings, "images"), height=SIDE, width=SIDE, pack_margin=0.0)
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        checking, hashing = time_checking(Path(folder), data)
        gathering = time_gathering(images, data)
        searching, dividing, groups = time_dividing(data)
    print(
        f"checking a photo of {WIDTH} x {HEIGHT}: {1000 * checking:.3g} ms of CPU, "
        f"{100 * hashing / checking:.3g} % of them its perceptual hash"
    )
    total = searching + dividing
    print(
        f"dividing {PICTURES} pictures: {total:.3g} s of CPU, {100 * total / PICTURES / checking:.3g} % of "
        f"checking them; {searching:.3g} s to find {groups} near duplicates"
    )
    print(
        f"gathering the packs of {SIDE} x {SIDE} pixels: {1000 * gathering:.3g} ms of CPU a picture, "
        f"{100 * gathering / checking:.3g} % of checking it"
    )


def time_checking(root: Path, data: DataSettings) -> tuple[float, float]:
    """Seconds of CPU that a photo takes to be checked, and those of its perceptual hash alone."""
    source = make_pictures(root, WIDTH, HEIGHT, PHOTOS)
    check = partial(check_file, replace(data, root=str(root)), None, ((SIDE, SIDE),), LETTERBOX)
    start = process_time()
    for file in source.files:
        assert not check(file).reason
    checking = process_time() - start
    decoded = [decode((root / path).read_bytes(), 1, 2**30).image for path, _ in source.files]
    start = process_time()
    for image in decoded:
        find_likeness(image)
    return checking / PHOTOS, (process_time() - start) / PHOTOS


def draw_checks() -> Checks:
    """Checks of PICTURES small pictures of one folder, each of another look but for the copies."""
    generator = np.random.default_rng(0)
    files = [(f"{row % CLASSES}/{row}", str(row % CLASSES)) for row in range(PICTURES)]
    source = Source(SPLITS, ".", sorted(files), [])
    hashes, thumbnails = np.empty(PICTURES, np.uint64), []
    for row in range(PICTURES):
        if row % round(1 / COPIES):
            coarse = Image.fromarray(generator.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        noise = generator.integers(0, 3, (32, 32, 3), dtype=np.uint8)
        smooth = np.asarray(coarse.resize((32, 32), Image.Resampling.BICUBIC)) if row else noise
        found = find_likeness(Image.fromarray(np.where(smooth < 253, smooth + noise, smooth)))
        hashes[row] = found.hash
        thumbnails.append(np.frombuffer(found.thumbnail, np.uint8))
    digests = np.array([f"{row:032x}".encode() for row in range(PICTURES)])
    blank: list[tuple[str, ...]] = [()] * PICTURES
    return Checks(
        source, (), SHARED, [""] * PICTURES, blank, [None] * PICTURES, digests, hashes, np.stack(thumbnails)
    )


def time_dividing(data: DataSettings) -> tuple[float, float, int]:
    """Seconds of CPU to find near duplicates, and for all else; and how many groups these are."""
    checks = draw_checks()
    start = process_time()
    pictures = list_pictures([checks], replace(data, near_distance="none"), {})
    judge(pictures)
    middle = process_time()
    alike = find_alike(list_pictures([checks], data, {}))
    return process_time() - middle, middle - start, len(alike) // 2


def time_gathering(images: ImageSettings, data: DataSettings) -> float:
    """Seconds of CPU to copy a picture from the pack of all to that of its split."""
    files = [(f"cat/{row:04}", "cat") for row in range(PHOTOS)]
    sizes = ((SIDE, SIDE),)
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8).tobytes()
    SHARED.parent.mkdir(parents=True)
    with open(SHARED, "wb") as file:
        writer = PackWriter(file, find_shape(sizes))
        for _ in files:
            writer.append(pixels)
        writer.write_header()
    looks = np.random.default_rng(1).integers(0, 2**64, PHOTOS, dtype=np.uint64)
    digests = np.array([f"{row:032x}".encode() for row in range(PHOTOS)])
    checks = Checks(
        Source(SPLITS, ".", files, []), sizes, SHARED, [""] * PHOTOS, [()] * PHOTOS, [None] * PHOTOS, digests,
        looks, np.zeros((PHOTOS, 768), np.uint8),
    )  # fmt: skip
    pictures = list_pictures([checks], data, {})
    start = process_time()
    for split in SPLITS:
        write_split(split, pictures.of(split), images, packed=True)
    return (process_time() - start) / PHOTOS


if __name__ == "__main__":
    main()
