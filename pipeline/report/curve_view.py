"""`sluice curve`: what a recipe's bands and verification find, before anything is run."""

from rich.console import Console
from rich.table import Table

from pipeline.config import PRESETS, Recipe
from pipeline.dedup.curve import curve, meeting_chance

_BAR = 40  # characters of a certain find


def print_curve(console: Console, recipe: Recipe) -> None:
    """The S-curve of a recipe as a table with bars."""
    minhash, choice = recipe.minhash, recipe.deduplicate
    midpoint = (1 / minhash.bands) ** (1 / minhash.rows)
    console.print(
        f"{minhash.bands} bands of {minhash.rows} values over shingles of {minhash.shingle} {minhash.unit}: "
        f"half of the pairs of similarity {midpoint:.3f} or so meet; verified by {choice.verify}"
        + ("" if choice.verify == "none" else f" at {choice.threshold:g}"),
        highlight=False,
    )
    table = Table("similarity", "meet", "found", "")
    for similarity, meets, found in curve(recipe):
        table.add_row(f"{similarity:.2f}", f"{meets:.1%}", f"{found:.1%}", "█" * round(_BAR * found))
    console.print(table)


def print_presets(console: Console) -> None:
    """All presets: numbers of the peers, and where their curve is steepest."""
    table = Table("preset", "unit", "shingle", "bands x rows", "values", "(1/b)^(1/r)", "0.7", "0.8", "0.9")
    for name, preset in PRESETS.items():
        bands, rows = int(preset["bands"]), int(preset["rows"])
        chances = [f"{meeting_chance(s, bands=bands, rows=rows):.1%}" for s in (0.7, 0.8, 0.9)]
        shape = (f"{bands} x {rows}", f"{bands * rows:,}", f"{(1 / bands) ** (1 / rows):.3f}")
        table.add_row(name, str(preset["unit"]), str(preset["shingle"]), *shape, *chances)
    console.print(table)
