"""Random maps of whole batches: turned, shifted and scaled, or cropped, mirrored; and rectangles erased.

n pictures of a batch, h and w their height and width in pixels, H and W those of the network's input. What
is drawn for a picture comes from torch's global generator, in torchvision's order: the same seed gives the
same angle, box or rectangle as its transforms. What becomes of a picture depends on no other one of the
batch, to the last bit. CPU and GPU may differ by a grey level: they round in other places.
"""

import math
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from src.ground.chunks import list_chunks

CACHED = 2**15  # pixels; a CPU maps so many at a time per thread, which stay in its cache
TRIES = 10  # at a rectangle that fits
CROPPED = math.log(3 / 4), math.log(4 / 3)  # ratios of the sides of crops, and of what is erased
ERASED = math.log(0.3), math.log(3.3)
Box = tuple[int, int, int, int]  # top, left, height, width in pixels


class Warp(Protocol):
    """A random map of pictures."""

    def draw(self, height: int, width: int) -> list[float]:
        """The map of one picture of that size, as k numbers."""
        ...

    def apply(self, pictures: Tensor, drawn: Tensor) -> Tensor:
        """The pictures uint8 (n, h, w, 3) as their maps (n, k) float64 say: uint8 (n, H, W, 3)."""
        ...


class Flip:
    """A mirror image with a given probability, as torchvision's RandomHorizontalFlip; on a CPU."""

    def __init__(self, flip: float, height: int, width: int):
        self.flip, self.size = flip, (height, width)

    def draw(self, height: int, width: int) -> list[float]:
        return [draw_chance(self.flip)]

    def apply(self, pictures: Tensor, drawn: Tensor) -> Tensor:
        return resize(torch.where(drawn[..., None, None] > 0, pictures.flip(2), pictures), self.size)


class Affine:
    """A small rotation, shift and scaling, padded with black, then a flip, all in one bilinear map.

    Drawn as torchvision's RandomAffine and RandomHorizontalFlip do. A larger picture is mapped at its own
    size, then resized.
    """

    def __init__(self, rotate: float, shift: float, scale: float, flip: float, height: int, width: int):
        self.rotate, self.shift, self.scale, self.flip = rotate, shift, scale, flip
        self.size = height, width

    def draw(self, height: int, width: int) -> list[float]:
        """The map from a point (x, y) to the picture's that is seen there, (2, 3) in pixels, flattened."""
        turn, right, down, scale, chance = torch.rand(5).tolist()  # one by one they take five times as long
        angle = math.radians(spread(turn, -self.rotate, self.rotate))
        x = width / 2 + round(spread(right, -self.shift * width, self.shift * width))  # of the centre, later
        y = height / 2 + round(spread(down, -self.shift * height, self.shift * height))
        scale = spread(scale, 1 - self.scale, 1 + self.scale)
        a, b = math.cos(angle) / scale, math.sin(angle) / scale
        c, f = width / 2 - a * x - b * y, height / 2 + b * x - a * y
        if chance < self.flip:
            return [-a, b, c + a * width, b, a, f - b * width]
        return [a, b, c, -b, a, f]

    def apply(self, pictures: Tensor, drawn: Tensor) -> Tensor:
        count, height, width, _ = pictures.shape
        together = CACHED * torch.get_num_threads()
        mapped = torch.empty((count, *self.size, 3), dtype=torch.uint8, device=pictures.device)
        rows, down, across = line_up(drawn, height, width)
        for part in [slice(None)] if pictures.is_cuda else list_chunks(count, height * width, together):
            grid = (rows * down[part]).add_(across[part]).unflatten(2, (width, 2))
            images = pictures[part].permute(0, 3, 1, 2).float()
            images = F.grid_sample(images, grid, align_corners=False)
            if self.size != (height, width):
                images = F.interpolate(images, self.size, mode="bilinear", antialias=True)
            store(images, mapped[part])
        return mapped


class Crop:
    """A random crop with a slightly changed aspect ratio, resized to the network's input, randomly flipped.

    C. Szegedy et al., Going Deeper with Convolutions, 2014, arXiv:1409.4842, as in torchvision: the crop's
    area is uniform in [min_area, 1] of the picture's, the logarithm of its aspect ratio uniform in that of
    [3/4, 4/3].
    """

    def __init__(self, min_area: float, flip: float, height: int, width: int):
        self.min_area, self.flip, self.size = min_area, flip, (height, width)

    def draw(self, height: int, width: int) -> list[float]:
        """Top, left, height and width of the crop in pixels, and 1 if it is flipped."""
        return [*self.draw_box(height, width), draw_chance(self.flip)]

    def draw_box(self, height: int, width: int) -> Box:
        for _ in range(TRIES):
            wide, tall = draw_sides(height * width, (self.min_area, 1.0), CROPPED)
            if 0 < wide <= width and 0 < tall <= height:
                return draw_place(height, width, tall, wide)
        tall, wide = min(height, round(width * 4 / 3)), min(width, round(height * 4 / 3))
        return (height - tall) // 2, (width - wide) // 2, tall, wide

    def apply(self, pictures: Tensor, drawn: Tensor) -> Tensor:
        apply = crop_together if pictures.is_cuda else crop_each
        return apply(pictures, drawn, self.size)


class Erase:
    """Blacks out a random rectangle with a given probability. Z. Zhong et al., 2017, arXiv:1708.04896.

    As in torchvision's RandomErasing: 2 to 33 % of the area, the sides' ratio between 0.3 and 3.3.
    """

    def __init__(self, probability: float):
        self.probability = probability

    def draw(self, height: int, width: int) -> list[float]:
        """Top, left, height and width of the rectangle in pixels; all 0 if there is none."""
        if draw_chance(self.probability):
            for _ in range(TRIES):
                tall, wide = draw_sides(height * width, (0.02, 0.33), ERASED)
                if tall < height and wide < width:
                    return [*draw_place(height, width, tall, wide)]
        return [0, 0, 0, 0]

    def apply(self, pictures: Tensor, drawn: Tensor) -> Tensor:
        top, left, height, width = drawn.T[..., None]  # (n, 1) each
        rows = torch.arange(pictures.shape[1], device=pictures.device)
        columns = torch.arange(pictures.shape[2], device=pictures.device)
        down, across = (rows >= top) & (rows < top + height), (columns >= left) & (columns < left + width)
        return pictures.masked_fill((down[:, :, None] & across[:, None])[..., None], 0)


def spread(share: float, low: float, high: float) -> float:
    """A number in [0, 1) as one in [low, high), rounded as torch's uniform_ does."""
    start, end = np.float32(low), np.float32(high)
    return float(np.float32(share) * (end - start) + start)


def draw_chance(probability: float) -> bool:
    return torch.rand(()).item() < probability


def draw_sides(area: int, shares: tuple[float, float], log_ratios: tuple[float, float]) -> tuple[int, int]:
    """Two sides: their product, as a share of a picture's area, and the log of their ratio are uniform."""
    part = area * torch.empty(1).uniform_(*shares).item()
    ratio = torch.empty(1).uniform_(*log_ratios).exp_().item()
    return round(math.sqrt(part * ratio)), round(math.sqrt(part / ratio))


def draw_place(height: int, width: int, tall: int, wide: int) -> Box:
    """A rectangle of this size anywhere in a picture."""
    top, left = (int(torch.randint(free + 1, ())) for free in (height - tall, width - wide))
    return top, left, tall, wide


def line_up(maps: Tensor, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Three factors and terms of shapes (h, 1), (n, 1, 2w), (n, 1, 2w): first x second + third is a grid.

    That is, where each pixel's value comes from, x and y in turns, with the picture's edges at -1 and 1, as
    F.grid_sample takes it. Its parts are added in the order of the memory.
    """
    x, y = maps.view(-1, 2, 3).unbind(1)
    scaled = torch.stack((x * 2 / width, y * 2 / height), dim=1).float()  # (n, 2, 3)
    columns = torch.arange(width, device=maps.device) + 0.5
    rows = torch.arange(height, device=maps.device) + 0.5
    across = columns[:, None] * scaled[:, None, :, 0] + (scaled[:, None, :, 2] - 1)  # (n, width, 2)
    return rows[:, None], scaled[:, :, 1].repeat(1, width)[:, None], across.flatten(1)[:, None]


def store(images: Tensor, pictures: Tensor) -> None:
    """Write images float (n, 3, H, W) in [0, 255], rounded, to pictures uint8 (n, H, W, 3)."""
    rounded = images.add_(0.5)
    if images.is_cuda:
        pictures.copy_(rounded.permute(0, 2, 3, 1))
        return
    for channel in range(3):  # numpy takes half as long as torch
        np.copyto(pictures[..., channel].numpy(), rounded[:, channel].numpy(), casting="unsafe")


def resize(pictures: Tensor, size: tuple[int, int]) -> Tensor:
    """Pictures uint8 (n, h, w, 3) on a CPU, resized: much faster than by Pillow, and a grey level off."""
    if pictures.shape[1:3] == size:
        return pictures
    resized = F.interpolate(pictures.permute(0, 3, 1, 2), size, mode="bilinear", antialias=True)
    return resized.permute(0, 2, 3, 1)


def crop_each(pictures: Tensor, drawn: Tensor, size: tuple[int, int]) -> Tensor:
    """Crops on a CPU, one by one: torch resizes uint8 faster than any map of a batch would.

    It does so in one thread, so as many as it has share the pictures.
    """
    crops = torch.empty((len(pictures), *size, 3), dtype=torch.uint8)
    boxes = drawn.int().tolist()

    def crop(rows: range) -> None:
        for row in rows:
            top, left, height, width, flip = boxes[row]
            part = pictures[row, top : top + height, left : left + width]
            part = torch.from_numpy(part.numpy().copy())  # torch takes twice as long for a view
            resized = resize(part[None], size)[0]
            crops[row] = resized.flip(1) if flip else resized

    threads = min(torch.get_num_threads(), len(pictures))
    if threads == 1:
        crop(range(len(pictures)))
        return crops
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(crop, [range(first, len(pictures), threads) for first in range(threads)]))
    return crops


def crop_together(pictures: Tensor, drawn: Tensor, size: tuple[int, int]) -> Tensor:
    """The same crops, of all pictures at once, up to rounding."""
    top, left, height, width, flip = drawn.float().T
    lines = resample(pictures.float(), top, height, size[0]).transpose(1, 2)  # (n, w, H, 3)
    images = resample(lines, left, width, size[1]).permute(0, 3, 2, 1)
    crops = torch.empty((len(pictures), *size, 3), dtype=torch.uint8, device=pictures.device)
    store(torch.where(flip[:, None, None, None] > 0, images.flip(-1), images), crops)
    return crops


def resample(lines: Tensor, start: Tensor, length: Tensor, into: int) -> Tensor:
    """Of lines (n, L, M, 3) those from `start` (n,), `length` (n,) of them, resized to `into` lines.

    With the filter of Pillow's and torch's bilinear resize: a triangle, as wide as a new line or an old one,
    whichever is larger. Term by term, unlike a product of matrices, it rounds the same in any batch.
    """
    scale = (length / into)[:, None]
    reach = scale.clamp(min=1)
    centres = start[:, None] + (torch.arange(into, device=lines.device) + 0.5) * scale  # (n, into)
    first, last = (centres - reach).floor(), (start + length - 1)[:, None]
    total, weighed = torch.zeros_like(centres), torch.zeros((), device=lines.device)
    picture = torch.arange(len(lines), device=lines.device)[:, None]
    for tap in range(2 * math.ceil(max(1, lines.shape[1] / into)) + 1):
        line = first + tap
        weight = (1 - (line + 0.5 - centres).abs() / reach).clamp(min=0)
        weight = weight * ((line >= start[:, None]) & (line <= last))
        chosen = lines[picture, line.long().clamp(0, lines.shape[1] - 1)]
        total, weighed = total + weight, weighed + weight[:, :, None, None] * chosen
    return weighed / total[:, :, None, None]
