"""CPU seconds of the deduplication phase over the size of its text, as an SVG that needs nothing."""

from collections.abc import Mapping, Sequence
from pathlib import Path

_WIDTH, _HEIGHT, _MARGIN = 640, 400, 60
_COLOURS = {"en": "#2563a8", "zh": "#b5452c"}


def write_plot(path: Path, phase: Mapping[str, Sequence[tuple[float, float]]]) -> None:
    """`phase`: (bytes, CPU seconds) by language; linear growth is a straight line."""
    most_bytes = max(size for points in phase.values() for size, _ in points)
    most_seconds = max(cpu for points in phase.values() for _, cpu in points)

    def at(size: float, cpu: float) -> tuple[float, float]:
        x = _MARGIN + (_WIDTH - 2 * _MARGIN) * size / most_bytes
        return x, _HEIGHT - _MARGIN - (_HEIGHT - 2 * _MARGIN) * cpu / most_seconds

    shapes = []
    for number, (language, points) in enumerate(phase.items()):
        colour = _COLOURS.get(language, "black")
        places = [at(size, cpu) for size, cpu in points]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        shapes.append(f'<polyline points="{line}" fill="none" stroke="{colour}"/>')
        shapes += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places]
        shapes.append(
            f'<text x="{_MARGIN + 10}" y="{_MARGIN + 18 * number}" fill="{colour}">{language}</text>'
        )
    axes = f"M{_MARGIN},{_MARGIN} V{_HEIGHT - _MARGIN} H{_WIDTH - _MARGIN}"
    shapes += [
        f'<path d="{axes}" fill="none" stroke="gray"/>',
        f'<text x="{_WIDTH / 2}" y="{_HEIGHT - 20}">GB of text, up to {most_bytes / 1e9:.2f}</text>',
        f'<text x="8" y="{_MARGIN - 20}">CPU seconds of all processes, up to {most_seconds:.0f}</text>',
    ]
    size = f'width="{_WIDTH}" height="{_HEIGHT}"'
    style = 'font-family="sans-serif" font-size="13"'
    path.write_text(f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>{"".join(shapes)}</svg>\n')
