"""`sluice curve`: what a recipe's bands and verification find, before anything is run."""

from dataclasses import replace

from rich import box
from rich.console import Console
from rich.table import Table

from pipeline.config import PRESETS, Minhash, Recipe, RecipeError, nearest
from pipeline.dedup.curve import curve, meeting_chance, steepest

_BAR = 40  # characters of a certain find


def print_curve(console: Console, recipe: Recipe) -> None:
    """The S-curve of a recipe as a table with bars."""
    minhash, choice = recipe.minhash, recipe.deduplicate
    shape = (minhash.unit, minhash.shingle, minhash.bands, minhash.rows)
    own = "" if shape == tuple(PRESETS[minhash.preset].values()) else ", changed"
    at = "" if choice.verify == "none" else f" at {choice.threshold:g}"
    console.print(
        f"preset {minhash.preset}{own}: shingles of {minhash.shingle} {minhash.unit}, {minhash.bands} bands "
        f"of {minhash.rows} values, steepest near {steepest(bands=minhash.bands, rows=minhash.rows):.3f}; "
        f"verified by {choice.verify}{at}",
        highlight=False,
    )
    table = Table("similarity", "meet", "found", "", box=box.SIMPLE)
    for similarity, meets, found in curve(recipe):
        table.add_row(f"{similarity:.2f}", f"{meets:.1%}", f"{found:.1%}", "█" * round(_BAR * found))
    console.print(table)


def with_preset(recipe: Recipe, name: str) -> Recipe:
    """The recipe with all of a preset's numbers instead of its own; RecipeError for one that there is not."""
    if name not in PRESETS:
        raise RecipeError(f"--preset {name!r}: there are {', '.join(PRESETS)}{nearest(name, PRESETS)}")
    return replace(recipe, minhash=replace(Minhash(), preset=name, **dict(PRESETS[name])))


def print_presets(console: Console) -> None:
    """All presets: numbers of the peers, where their curve is steepest, and the chances to meet."""
    table = Table(box=box.SIMPLE, padding=(0, 1, 0, 0))
    for heading in ("preset", "unit", "shingle", "bands", "rows", "steepest", "0.7", "0.8", "0.9"):
        table.add_column(heading, justify="left" if heading in ("preset", "unit") else "right", no_wrap=True)
    for name, preset in PRESETS.items():
        bands, rows = int(preset["bands"]), int(preset["rows"])
        chances = [f"{meeting_chance(s, bands=bands, rows=rows):.1%}" for s in (0.7, 0.8, 0.9)]
        shape = (str(preset["shingle"]), str(bands), str(rows))
        table.add_row(name, str(preset["unit"]), *shape, f"{steepest(bands=bands, rows=rows):.3f}", *chances)
    console.print(table)
    console.print("steepest at (1/bands)^(1/rows); then the chance to meet, by similarity", highlight=False)
