"""Line charts as inline SVG, coloured by the page's style sheet, so that they follow light and dark.

Positions are in the chart's own units: WIDTH x HEIGHT, scaled to the page.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from markupsafe import Markup, escape

WIDTH, HEIGHT = 480, 300
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 12, 44  # margins for the texts
TICKS = 5
MOST_POINTS = 400  # of a line: more would be finer than the picture

Points = Sequence[tuple[float, float]]


class Axis(NamedTuple):
    """The meaning of one direction of a chart."""

    title: str  # with the unit
    low: float
    high: float

    def place(self, value: float) -> float:
        """Where a value is, from 0 to 1."""
        return (value - self.low) / (self.high - self.low or 1)

    def ticks(self) -> list[float]:
        """Round values from low to high, about TICKS of them."""
        rough = (self.high - self.low) / TICKS or 1
        power = 10 ** math.floor(math.log10(rough))
        step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.99)
        first = math.ceil(self.low / step - 1e-9)
        return [number * step for number in range(first, math.floor(self.high / step + 1e-9) + 1)]


def draw_lines(
    x: Axis, y: Axis, lines: Mapping[str, Points], diagonal: bool = False, marks: Points = ()
) -> Markup:
    """A chart of named lines; `marks` are points to be seen, `diagonal` is where x and y are equal."""
    parts = [*draw_axes(x, y)]
    if diagonal:
        parts.append(draw_path(x, y, [(x.low, x.low), (x.high, x.high)], "diagonal"))
    for number, points in enumerate(lines.values()):
        parts.append(draw_path(x, y, thin(points), f"line c{number % 6}"))
    for point in marks:
        left, top = place(x, y, point)
        parts.append(f'<circle class="mark" cx="{left:.1f}" cy="{top:.1f}" r="5"/>')
    title = escape(f"{y.title} by {x.title}: {', '.join(lines)}")
    chart = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}">{"".join(parts)}</svg>'
    keys = "".join(f'<li class="c{number % 6}">{escape(name)}</li>' for number, name in enumerate(lines))
    return Markup(f'{chart}<ul class="legend">{keys}</ul>' if len(lines) > 1 else chart)  # noqa: S704


def draw_axes(x: Axis, y: Axis) -> Iterable[str]:
    """Lines and numbers of both axes, and their titles."""
    for value in x.ticks():
        left, _ = place(x, y, (value, y.low))
        yield f'<line class="grid" x1="{left:.1f}" x2="{left:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
        yield f'<text x="{left:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{value:g}</text>'
    for value in y.ticks():
        _, top = place(x, y, (x.low, value))
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{top:.1f}" y2="{top:.1f}"/>'
        yield f'<text x="{LEFT - 6}" y="{top + 4:.1f}" text-anchor="end">{value:g}</text>'
    middle, centre = (LEFT + WIDTH - RIGHT) / 2, (TOP + HEIGHT - BOTTOM) / 2
    yield f'<text x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">{escape(x.title)}</text>'
    yield (
        f'<text x="12" y="{centre}" text-anchor="middle" transform="rotate(-90 12 {centre})">'
        f"{escape(y.title)}</text>"
    )


def draw_path(x: Axis, y: Axis, points: Points, kind: str) -> str:
    """A line through the points, or a dot if there is one point only."""
    if len(points) == 1:
        left, top = place(x, y, points[0])
        return f'<circle class="{kind}" cx="{left:.1f}" cy="{top:.1f}" r="2"/>'
    places = " ".join(f"{left:.1f},{top:.1f}" for left, top in (place(x, y, point) for point in points))
    return f'<polyline class="{kind}" points="{places}"/>'


def place(x: Axis, y: Axis, point: tuple[float, float]) -> tuple[float, float]:
    """Where a point is on the drawing."""
    across, up = x.place(point[0]), y.place(point[1])
    return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)


def thin(points: Points) -> Points:
    """At most MOST_POINTS of the points, the last one among them."""
    step = math.ceil(len(points) / MOST_POINTS)
    return points if step <= 1 else [*points[::step], points[-1]]
