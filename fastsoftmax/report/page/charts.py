"""Curves and bars as coordinates of SVG, which a template draws in the colours of the page."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

WIDTH, HEIGHT = 400.0, 250.0
LEFT, RIGHT, TOP, BOTTOM = 52.0, 12.0, 12.0, 40.0
MARKED = 40  # points, up to which each has a mark


class Axis(NamedTuple):
    """Values from low to high, on a stretch of the picture."""

    low: float
    high: float
    start: float
    stop: float
    log: bool = False
    whole: bool = False  # counts

    def at(self, value: float) -> float:
        """The place of a value."""
        low, high, v = (math.log10(x) if self.log else x for x in (self.low, self.high, value))
        return round(self.start + (self.stop - self.start) * ((v - low) / (high - low) if high > low else 0.5), 2)

    def ticks(self) -> list[tuple[float, str]]:
        """Places and texts: round values, some five of them."""
        if not self.high > self.low:
            return [(self.at(self.low), f"{self.low:.4g}")]
        if self.log:
            return self._decades() or [(self.at(v), f"{v:.2g}") for v in (self.low, self.high)]
        span = self.high - self.low
        power = 10.0 ** math.floor(math.log10(span / 4))
        step = power * next(f for f in (1, 2, 5, 10) if span / (power * f) <= 6)
        step = max(step, 1.0) if self.whole else step
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        digits = max(0, -math.floor(math.log10(step) + 1e-9))
        small = digits < 8 and max(abs(self.low), abs(self.high)) < 1e9
        return [
            (self.at(k * step), f"{k * step:.{digits}f}" if small else f"{k * step:.6g}")
            for k in range(first, last + 1)
        ]

    def _decades(self) -> list[tuple[float, str]]:
        """Powers of ten, or of less than two of them also twice and five times as much."""
        low, high = math.log10(self.low), math.log10(self.high)
        if high - low < 2:
            values = [float(f"{f}e{k}") for k in range(math.floor(low), math.ceil(high) + 1) for f in (1, 2, 5)]
            return [(self.at(v), f"{v:.0e}") for v in values if self.low <= v <= self.high]
        first, last = math.ceil(low), math.floor(high)
        every = max(1, (last - first + 5) // 5)
        return [(self.at(10.0**k), f"1e{k}") for k in range(first, last + 1, every)]


def across(low: float, high: float, whole: bool = False) -> Axis:
    """The axis of x."""
    return Axis(low, high, LEFT, WIDTH - RIGHT, whole=whole)


def upright(low: float, high: float, log: bool = False) -> Axis:
    """The axis of y."""
    return Axis(low, high, HEIGHT - BOTTOM, TOP, log)


class Line(NamedTuple):
    """A curve."""

    name: str
    points: list[tuple[float, float]]

    @property
    def path(self) -> str:
        """As SVG takes points."""
        return " ".join(f"{x:g},{y:g}" for x, y in self.points)


class Chart(NamedTuple):
    """Curves on common axes."""

    x: Axis
    y: Axis
    x_name: str
    y_name: str
    lines: list[Line]

    @property
    def marked(self) -> bool:
        """Whether each point has a mark."""
        return max(len(line.points) for line in self.lines) <= MARKED


def curves(
    x: Sequence[float], columns: Mapping[str, Sequence[float | None]], x_name: str, y_name: str, log: bool = False
) -> Chart | None:
    """Columns over counts x; values that are no finite numbers, or not above 0 on a logarithmic axis, are left out.

    Parameters
    ----------
    x : sequence of float
    columns : dict of str to sequence
        By the names that stand beside the curves.
    x_name, y_name : str
    log : bool, default False
        Whether y is logarithmic.

    Returns
    -------
    Chart or None
        None where there is nothing to draw.
    """
    kept = {
        name: [
            (u, v) for u, v in zip(x, column, strict=True) if v is not None and math.isfinite(v) and (v > 0 or not log)
        ]
        for name, column in columns.items()
    }
    kept = {name: points for name, points in kept.items() if points}
    if not kept:
        return None
    values = [v for points in kept.values() for _, v in points]
    low, high = min(values), max(values)
    if not log:
        low, high = low - 0.05 * (high - low), high + 0.05 * (high - low)
    axes = across(min(x), max(x), True), upright(low, high, log)
    lines = [Line(name, [(axes[0].at(u), axes[1].at(v)) for u, v in points]) for name, points in kept.items()]
    return Chart(*axes, x_name, y_name, lines)
