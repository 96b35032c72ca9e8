"""`sluice sample`: a sample on the terminal, or in a file.

Whatever comes from data and is printed has its control characters taken out.
"""

from io import StringIO
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from pipeline.config import UsageError, nearest
from pipeline.report.display import cleaned, shown
from pipeline.report.run_folder import open_run
from pipeline.report.sample import check_sample, draw_sample
from pipeline.report.sample_rows import as_printed, open_private, read_sample, write_sample

FORMATS = ("jsonl", "parquet", "text")
_SHOWN_CHARACTERS = 1_500  # of a text on a terminal; a file has all of it
_WIDTH = 110  # of a text file


def print_sample(
    output: str,
    console: Console,
    *,
    stage: str,
    n: int,
    by: str | None = None,
    seed: int | None = None,
    edited: str = "both",
    format: str | None = None,
    to: str | None = None,
) -> int:
    """Draws a sample of the finished run in `output`, prints or writes it, and returns 0.

    UsageError for an unknown stage, column or format, n below 1, or a folder that holds no finished run.
    """
    columns = check_sample(stage, by, n)
    format = _format(format, to)
    job = open_run(output)
    drawn = draw_sample(job, stage, columns, n, job.recipe.seed if seed is None else seed)
    rows = read_sample(job, stage, drawn, edited)
    strata = [", ".join(one.stratum) for one in drawn]
    if to is None:
        if format == "jsonl":
            for row in rows:
                print(as_printed(row))
        else:
            screen = Console(highlight=False)
            for block in sample_blocks(rows, strata, _SHOWN_CHARACTERS):
                screen.print(block)
    elif format == "text":
        with open_private(Path(to)) as file:
            page = Console(file=StringIO(), highlight=False, width=_WIDTH, color_system=None, record=True)
            for block in sample_blocks(rows, strata, 0):
                page.print(block)
            file.write(page.export_text().encode())
    else:
        write_sample(Path(to), rows, stage, format)
    told = f"{len(rows):,} of {stage} in {len(set(strata)):,} strata by {', '.join(columns)}"
    console.print(shown(told + (f", in {to}" if to else ""), style="dim"))
    return 0


def _format(format: str | None, to: str | None) -> str:
    """The format asked for; else that of the file's name, else text for a terminal and JSONL for a file."""
    if format is None:
        if to is None:
            return "text"
        named = {".parquet": "parquet", ".txt": "text"}
        return named.get(Path(to).suffix, "jsonl")
    if format not in FORMATS:
        raise UsageError(f"--format {format!r} is not one of {', '.join(FORMATS)}{nearest(format, FORMATS)}")
    if format == "parquet" and to is None:
        raise UsageError("--format parquet needs a file: give --output")
    return format


def sample_blocks(rows: list[dict[str, Any]], strata: list[str], limit: int) -> list[Any]:
    """Rows under the names of their strata; `limit` characters of each text (0 = all)."""
    blocks: list[Any] = []
    last = None
    for row, stratum in zip(rows, strata, strict=True):
        if stratum != last:
            blocks.append(Rule(shown(stratum), align="left"))
            last = stratum
        blocks.append(_panel(row, limit))
    return blocks


def _panel(row: dict[str, Any], limit: int) -> Panel:
    colour = "green" if row["kept"] else "red"
    verdict = "kept" if row["kept"] else f"dropped: {row['reason']}"
    if "media" in row:
        verdict = f"set aside: {row['reason']}"
    facts = Table.grid(padding=(0, 2))
    for name in ("id", "url", "source", "language", "path", "offset", "stage", "detail", "media"):
        if row.get(name) not in (None, ""):
            facts.add_row(Text(name, style="dim"), shown(str(row[name])))
    for rule in row.get("failing", ()):
        told = f"{rule['rule']}: {rule['of']} = {rule['value']}, threshold {rule['threshold']}"
        facts.add_row(Text("fails", style="dim"), shown(told, style="red"))
    if "measures" in row:
        sizes = [f"{row['measures'][name]:,} {name}" for name in ("characters", "words", "lines")]
        sizes.append(f"cluster of {row['cluster_size']:,}")
        facts.add_row(Text("size", style="dim"), Text(", ".join(sizes)))
    texts: list[Any] = []
    before, after = row.get("text"), row.get("edited")
    if before is not None and after is not None and before == after:
        after = None
    for name, text in (("text", before), ("after its edits", after)):
        if text is not None:
            texts += [Text(f"\n{name}", style="bold"), _lines(text, limit)]
    return Panel(
        Group(facts, *texts),
        title=shown(verdict, style=f"bold {colour}"),
        title_align="left",
        border_style=colour,
    )


def _lines(text: str, limit: int) -> Text:
    """A text with its lines, each cleaned; `limit` characters of it (0 = all)."""
    cut = text if not limit or len(text) <= limit else text[: limit - 1] + "…"
    return Text("\n".join(cleaned(line) for line in cut.split("\n")))
