"""A comparison as a table for the terminal and as a bar picture (SVG), like figure 3 of the Qwen report."""

from collections.abc import Sequence
from html import escape
from typing import Any

from rich.table import Table

from tokenizer_build.compare import Compared, Measure

_COLOURS = ("#4c566a", "#d08770", "#5e81ac", "#a3be8c", "#b48ead", "#ebcb8b")
_BAR, _GAP, _HEIGHT, _MARGIN = 10, 14, 220, 46  # pixels


def text_table(measures: Sequence[Measure], baseline: str) -> Table:
    """Tokens relative to the baseline, and bytes per token, by text; fertility of the first vocabulary."""
    vocabularies = list(dict.fromkeys(each.vocabulary for each in measures))
    found = {(each.text, each.vocabulary): each for each in measures}
    table = Table(title=f"tokens relative to {baseline} (bytes per token)")
    table.add_column("text")
    table.add_column("MB", justify="right")
    for vocabulary in vocabularies:
        table.add_column(vocabulary, justify="right")
    table.add_column(f"{vocabularies[0]}: per character", justify="right")
    table.add_column("per word", justify="right")
    for text in dict.fromkeys(each.text for each in measures):
        first, base = found[text, vocabularies[0]], found[text, baseline]
        cells = []
        for vocabulary in vocabularies:
            each = found[text, vocabulary]
            cells.append(f"{each.tokens / max(1, base.tokens):.3f} ({each.bytes_per_token:.2f})")
        per_character, per_word = first.tokens / max(1, first.characters), first.tokens / max(1, first.words)
        table.add_row(text, f"{first.bytes / 1e6:.2f}", *cells, f"{per_character:.2f}", f"{per_word:.2f}")
    return table


def checks_table(compared: Sequence[Compared], bands: Sequence[dict[str, Any]]) -> Table:
    """Size, unreachable tokens, and single-token Chinese characters by band, one row per vocabulary."""
    table = Table(title="vocabularies")
    for heading in ("vocabulary", "tokens", "unreachable"):
        table.add_column(heading, justify="left" if heading == "vocabulary" else "right")
    for band in bands:
        table.add_column(f"Chinese characters {band['from']}-{band['to']}", justify="right")
    for each in compared:
        unreachable = "not known" if each.unreachable is None else f"{each.unreachable:,}"
        shares = [f"{band['single'][each.name]:.1%}" for band in bands]
        table.add_row(each.name, f"{len(each.tokens):,}", unreachable, *shares)
    return table


def bar_picture(measures: Sequence[Measure], baseline: str) -> str:
    """Bars of tokens relative to the baseline, one group per text, as an SVG document."""
    vocabularies = list(dict.fromkeys(each.vocabulary for each in measures))
    texts = list(dict.fromkeys(each.text for each in measures))
    tokens = {(each.text, each.vocabulary): each.tokens for each in measures}
    ratios = {key: count / max(1, tokens[key[0], baseline]) for key, count in tokens.items()}
    top = max(1.0, *ratios.values()) * 1.05
    group = _BAR * len(vocabularies) + _GAP
    width, height = 2 * _MARGIN + group * len(texts), _HEIGHT + 2 * _MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        f'font-size="11"><title>Tokens relative to {escape(baseline)}, less is better</title>'
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>'
    ]
    for i in range(int(top / 0.25) + 1):
        y = _MARGIN + _HEIGHT * (1 - i * 0.25 / top)
        parts.append(
            f'<line x1="{_MARGIN}" x2="{width - _MARGIN}" y1="{y:.1f}" y2="{y:.1f}" stroke="#d8dee9"/>'
            f'<text x="{_MARGIN - 6}" y="{y + 4:.1f}" text-anchor="end">{i * 0.25:.2f}</text>'
        )
    for row, text in enumerate(texts):
        left = _MARGIN + _GAP / 2 + row * group
        for column, vocabulary in enumerate(vocabularies):
            tall = _HEIGHT * ratios[text, vocabulary] / top
            parts.append(
                f'<rect x="{left + column * _BAR:.1f}" y="{_MARGIN + _HEIGHT - tall:.1f}" width="{_BAR - 1}" '
                f'height="{tall:.1f}" fill="{_COLOURS[column % len(_COLOURS)]}">'
                f"<title>{escape(text)}, {escape(vocabulary)}: {ratios[text, vocabulary]:.3f}</title></rect>"
            )
        middle = left + (group - _GAP) / 2
        y = _MARGIN + _HEIGHT + 16
        parts.append(f'<text x="{middle:.1f}" y="{y}" text-anchor="middle">{escape(text)}</text>')
    for column, vocabulary in enumerate(vocabularies):
        x = _MARGIN + column * 130
        colour = _COLOURS[column % len(_COLOURS)]
        parts.append(
            f'<rect x="{x}" y="14" width="10" height="10" fill="{colour}"/>'
            f'<text x="{x + 15}" y="23">{escape(vocabulary)}</text>'
        )
    return "".join([*parts, "</svg>\n"])
