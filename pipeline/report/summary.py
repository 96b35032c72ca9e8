"""What a run prints: the estimate before it, the closing table after it.

Nothing from data is printed as markup.
"""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline.phase import Job
from pipeline.plan import Estimate
from pipeline.report.facts import Facts, gather_facts
from pipeline.report.mixture import explain_shortage

_SHOWN_REASONS = 4
_SIMILAR = "0.80"  # planted copies of a similarity that every preset is meant to find,
_EQUAL = "1.00"  # but not those that came out equal, which is no feat
_SHOWN_LANGUAGES = 12


def print_estimate(console: Console, estimate: Estimate, name: str) -> None:
    """Disk and work that lie ahead; a warning where the disk will not do."""
    console.print(
        f"[bold]{escape(name)}[/bold]: {estimate.files:,} files, {human_bytes(estimate.input_bytes)} in "
        f"{estimate.splits:,} splits; about {human_seconds(estimate.cpu_seconds)} of one core and "
        f"{human_bytes(estimate.output_bytes)} of disk (rough)"
    )
    if estimate.free_bytes is not None and estimate.free_bytes < estimate.output_bytes:
        console.print(
            f"[red]only {human_bytes(estimate.free_bytes)} of disk are free; "
            "finished parts survive a full disk"
        )


def print_summary(console: Console, job: Job) -> None:
    """The closing table: funnel per stage, tokens per source and language, time and bytes per phase."""
    manifest = job.storage().read_json("MANIFEST.json") or {}
    facts = gather_facts(job, manifest)
    console.print(_funnel(facts))
    console.print(_tokens(facts))
    console.print(_cost(facts))
    totals = manifest["totals"]
    verdict = "[green]the ledger balances" if manifest["balanced"] else "[red]the ledger does NOT balance"
    console.print(
        f"{totals['kept']:,} of {totals['documents']:,} documents kept, {totals['tokens']:,} tokens in "
        f"{totals['rows']:,} rows; {verdict}[/]"
    )
    console.print(_duplicates(manifest["dedup"]), highlight=False)
    for sentence in explain_shortage(manifest["mixture"], job.recipe.mixture):
        console.print(f"  [yellow]mixture: {escape(sentence)}", highlight=False)
    for problem in manifest["problems"]:
        console.print(f"  [red]{escape(problem)}")
    console.print(f"content digest {manifest['content_digest']}", highlight=False)


def _duplicates(dedup: Mapping[str, Any]) -> str:
    """One line: what was found, and how well."""
    planted = found = 0
    for bands in dedup["recall"].values():
        for name, band in bands.items():
            if _SIMILAR <= name < _EQUAL:
                planted, found = planted + band["planted"], found + band["found"]
    told = [f"{dedup['clusters']:,} clusters of duplicates, {dedup['removed']:,} removed"]
    if planted:
        told.append(f"found {found:,} of {planted:,} planted copies of similarity {_SIMILAR} or more")
    if dedup["precision"] is not None:
        told.append(f"{dedup['precision']:.1%} of sampled pairs are right")
    return "; ".join(told)


def _funnel(facts: Facts) -> Table:
    table = Table("stage", title="Funnel", title_justify="left")
    for heading in ("in", "out", "dropped"):
        table.add_column(heading, justify="right")
    table.add_column("reasons")
    for stage in facts.funnel:
        shown = ", ".join(f"{reason} {number:,}" for reason, number in stage.dropped[:_SHOWN_REASONS])
        more = len(stage.dropped) - _SHOWN_REASONS
        reasons = shown + (f" and {more} more" if more > 0 else "")
        dropped = sum(number for _, number in stage.dropped)
        table.add_row(stage.name, f"{stage.came:,}", f"{stage.left:,}", f"{dropped:,}", escape(reasons))
    return table


def _tokens(facts: Facts) -> Table:
    table = Table("source", "language", title="Kept", title_justify="left")
    for heading in ("documents", "tokens"):
        table.add_column(heading, justify="right")
    for source, language, documents, tokens in facts.kept[:_SHOWN_LANGUAGES]:
        table.add_row(escape(source), escape(language), f"{documents:,}", f"{tokens:,}")
    rest = facts.kept[_SHOWN_LANGUAGES:]
    if rest:
        table.add_row(f"{len(rest)} more", "", f"{sum(r[2] for r in rest):,}", f"{sum(r[3] for r in rest):,}")
    return table


def _cost(facts: Facts) -> Table:
    table = Table("phase", title="Cost", title_justify="left")
    table.add_column("worker time", justify="right")
    table.add_column("on disk", justify="right")
    for phase in ("annotate", "deduplicate", "decide", "pack"):
        seconds, size = facts.seconds.get(phase, 0.0), facts.bytes.get(phase, 0)
        table.add_row(phase, human_seconds(seconds), human_bytes(size) if size else "")
    return table


def human_bytes(number: float) -> str:
    """1,234,567 as "1.2 MB"."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} PB"


def human_seconds(seconds: float) -> str:
    """4,000 as "67 min", 0.04 as "40 ms"."""
    if seconds < 0.1:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
