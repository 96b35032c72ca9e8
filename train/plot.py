"""The curves of a run as one SVG file, drawn here: no plotting library, nothing to load."""

import math
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from train.config import ConfigError
from train.metrics import read_metrics

WIDTH, HEIGHT, LEFT, TOP, GAP = 720, 200, 70, 46, 62  # pixels; HEIGHT of one panel
INK, PALE, GRID = "#1f2937", "#2563eb", "#e5e7eb"


class Line(NamedTuple):
    """One curve: its name, and (step, value) in order."""

    name: str
    points: list[tuple[int, float]]
    dots: bool = False  # few points, each marked


class Panel(NamedTuple):
    title: str
    lines: list[Line]


def panels_of(told: Sequence[dict[str, Any]]) -> list[Panel]:
    """What a run's metrics give to draw; curves without a value are left out."""

    def points(key: str, factor: float = 1.0) -> list[tuple[int, float]]:
        return [(t["step"], t[key] * factor) for t in told if isinstance(t.get(key), int | float)]

    losses = [
        (t["step"] - len(t["losses"]) + 1 + place, loss)
        for t in told
        for place, loss in enumerate(t.get("losses", ()))
    ]
    panels = [
        Panel(
            "loss, nats per token",
            [Line("training", losses), Line("validation", points("validation_loss"), dots=True)],
        ),
        Panel("bits per byte on validation", [Line("", points("bits_per_byte"), dots=True)]),
        Panel("gradient norm before clipping", [Line("", points("grad_norm"))]),
        Panel("learning rate", [Line("", points("lr"))]),
        Panel("tokens per second", [Line("", points("tokens_per_s"))]),
        Panel("MFU, %", [Line("", points("mfu", 100))]),
    ]
    filled = [Panel(title, [line for line in lines if line.points]) for title, lines in panels]
    return [panel for panel in filled if panel.lines]


def draw(panels: Sequence[Panel], title: str) -> str:
    """The SVG text of panels one below the other, with a common axis of steps."""
    steps = [step for panel in panels for line in panel.lines for step, _ in line.points]
    first, last = min(steps), max(max(steps), min(steps) + 1)
    height = TOP + len(panels) * (HEIGHT + GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif"'
        f' font-size="12" fill="{INK}"><rect width="100%" height="100%" fill="white"/>',
        f'<text x="{LEFT}" y="24" font-size="15" font-weight="bold">{escape(title)}</text>',
    ]
    right = WIDTH - 20

    def x(step: float) -> float:
        return LEFT + (step - first) / (last - first) * (right - LEFT)

    for number, panel in enumerate(panels):
        top = TOP + number * (HEIGHT + GAP) + 20
        values = [value for line in panel.lines for _, value in line.points if math.isfinite(value)]
        marks = ticks(min(values, default=0.0), max(values, default=1.0))
        low, high = marks[0], marks[-1]

        def y(value: float, top: float = top, low: float = low, high: float = high) -> float:
            return top + HEIGHT - (value - low) / (high - low) * HEIGHT

        parts.append(f'<text x="{LEFT}" y="{top - 8}" font-weight="bold">{escape(panel.title)}</text>')
        for mark in marks:
            parts.append(f'<path d="M{LEFT} {y(mark):.1f}H{right}" stroke="{GRID}"/>')
            parts.append(f'<text x="{LEFT - 6}" y="{y(mark) + 4:.1f}" text-anchor="end">{mark:.6g}</text>')
        for mark in ticks(first, last):
            if first <= mark <= last and mark == int(mark):
                place = f'x="{x(mark):.1f}" y="{top + HEIGHT + 16}"'
                parts.append(f'<text {place} text-anchor="middle">{int(mark):,}</text>')
        for line, colour in zip(panel.lines, (PALE, "#dc2626"), strict=False):
            parts += _curve(line, colour, x, y)
        named = [(line.name, colour) for line, colour in zip(panel.lines, (PALE, "#dc2626"), strict=False)]
        for place, (name, colour) in enumerate(named):
            where = f'x="{right - 80 * place}" y="{top - 8}" text-anchor="end"'
            parts.append(f'<text {where} fill="{colour}">{name}</text>')
    return "\n".join([*parts, "</svg>\n"])


def _curve(line: Line, colour: str, x: Callable[[float], float], y: Callable[[float], float]) -> list[str]:
    finite = [(x(step), y(value)) for step, value in line.points if math.isfinite(value)]
    path = "L".join(f"{left:.1f} {top:.1f}" for left, top in finite)
    drawn = [f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>'] if finite else []
    if line.dots or len(finite) == 1:
        drawn += [f'<circle cx="{left:.1f}" cy="{top:.1f}" r="3" fill="{colour}"/>' for left, top in finite]
    return drawn


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` round values (1, 2 or 5 times a power of ten apart) from below `low` to above `high`."""
    span = high - low or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / count))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor * count >= span)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 12) for number in range(first, max(last, first + 1) + 1)]


def plot(run: Path, to: Path | None = None) -> Path:
    """Draws the metrics of a run; returns the file (curves.svg in its folder). ConfigError if it has none."""
    if not (run / "metrics.jsonl").is_file():
        raise ConfigError(f"{run} holds no training run: there is no metrics.jsonl")
    panels = panels_of(read_metrics(run))
    if not panels:
        raise ConfigError(f"{run}/metrics.jsonl has no step yet")
    path = to or run / "curves.svg"
    path.write_text(draw(panels, run.resolve().name), encoding="utf-8")
    return path
