"""`sluice simulate`: before and after of a changed threshold, survivor policy or repeats, in seconds.

Numbers with "~" rest on estimated tokens (simulation.py). What no stored column can tell is said below the
tables.
"""

from collections.abc import Sequence
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.config import Recipe
from pipeline.phase import Job
from pipeline.report.display import shown
from pipeline.report.run_folder import open_run, read_manifest
from pipeline.report.settings import change_recipe
from pipeline.report.simulation import Simulation, Tally, simulate

_SHOWN_LINES = 20
_NOTHING = Tally()


def print_simulation(output: str, settings: Sequence[str], *, as_json: bool) -> int:
    """Prints what the finished run in `output` would keep with these `a.b=c` settings; returns 0.

    RecipeError for settings that stored columns cannot answer, FileNotFoundError without a run.
    """
    job = open_run(output)
    recipe = change_recipe(job.recipe, settings)
    outcome = describe(job, recipe, simulate(job, recipe), read_manifest(job))
    if as_json:
        print(orjson.dumps(outcome, option=orjson.OPT_INDENT_2).decode())
    else:
        _print(Console(highlight=False), outcome)
    return 0


def describe(job: Job, recipe: Recipe, simulation: Simulation, manifest: dict[str, Any]) -> dict[str, Any]:
    """[before, after] as JSON-able values; `estimated` counts the documents whose tokens are estimated."""
    keys = sorted(simulation.before.keys() | simulation.after.keys())
    kept = []
    for source, language in keys:
        key = (source, language)
        before, after = simulation.before.get(key, _NOTHING), simulation.after.get(key, _NOTHING)
        kept.append(
            {
                "source": source,
                "language": language,
                "documents": [before.documents, after.documents],
                "tokens": [before.tokens, simulation.tokens(key)],
                "tokens_after": [before.dealt, simulation.dealt(key)],
                "validation": [before.validation, after.validation],
                "estimated": after.unknown,
            }
        )
    kept.sort(key=lambda line: (-max(line["tokens"]), line["source"], line["language"]))
    columns = ("documents", "tokens", "tokens_after", "validation")
    totals = {name: [sum(line[name][side] for line in kept) for side in (0, 1)] for name in columns}
    totals["estimated"] = sum(line["estimated"] for line in kept)
    reasons = sorted(simulation.reasons_before.keys() | simulation.reasons_after.keys())
    return {
        "kept": kept,
        "totals": totals,
        "rows": [manifest["totals"]["rows"], _rows_after(job, recipe, totals["tokens_after"], manifest)],
        "dropped": {
            reason: [simulation.reasons_before[reason], simulation.reasons_after[reason]]
            for reason in reasons
        },
        "rules": {
            name: {"caught": effect.caught, "freed": effect.freed}
            for name, effect in simulation.rules.items()
            if effect.caught or effect.freed
        },
        "unknown": list(_unknown(job, manifest)),
    }


def _rows_after(job: Job, recipe: Recipe, tokens: list[int], manifest: dict[str, Any]) -> int:
    """Rows by the changed recipe: those of the run if nothing changes, else without the padding of shards."""
    if tokens[0] == tokens[1] and recipe.pack == job.recipe.pack:
        return manifest["totals"]["rows"]
    return -(-tokens[1] // recipe.pack.row_tokens)


def _unknown(job: Job, manifest: dict[str, Any]) -> list[str]:
    """What a simulation of this run cannot know, in sentences."""
    gate = job.recipe.annotate.gate
    on = [f"min_characters = {gate.min_characters}"] if gate.min_characters else []
    on += [f"languages = {', '.join(gate.languages)}"] if gate.languages else []
    stopped = sum(
        e["records"] for e in manifest["ledger"] if e["stage"] == "gate" and e["reason"].startswith("gate_")
    )
    told = []
    if on:
        told.append(
            f"Behind the gates of the recipe ({'; '.join(on)}): the {stopped:,} documents that they stopped have no "
            "measures, so no threshold can bring them back."
        )
    rules = [name for name in ("text", "url", "near") if getattr(job.recipe.deduplicate, name)]
    told.append(
        f"Other clusters: duplicates stay as they were found ({', '.join(rules) or 'not at all'}); only who survives "
        "in a cluster can change."
    )
    told.append("Rows to the last one: they depend on how copies fall into shards.")
    return told


# --- for people ---------------------------------------------------------------------------------------------


def _print(console: Console, outcome: dict[str, Any]) -> None:
    console.print(_kept_table(outcome))
    if outcome["rules"]:
        console.print(_rules_table(outcome["rules"]))
    changed = {reason: sides for reason, sides in outcome["dropped"].items() if sides[0] != sides[1]}
    if changed:
        console.print(_reasons_table(changed))
    totals = outcome["totals"]
    mark = "~" if totals["estimated"] else ""
    console.print(
        Text.assemble(
            "documents ", _change(totals["documents"]), ", tokens ", _change(totals["tokens"], mark),
            ", tokens in shards ", _change(totals["tokens_after"], mark), ", rows ", _change(outcome["rows"], "~"),
        )
    )  # fmt: skip
    if totals["documents"][0] == totals["documents"][1] and not outcome["rules"] and not changed:
        console.print(Text("no document is decided differently", style="dim"))
    if totals["estimated"]:
        console.print(
            Text(f"~ {totals['estimated']:,} documents were never encoded: their tokens are estimated")
        )
    console.print(Text("What this cannot know:", style="bold"))
    for sentence in outcome["unknown"]:
        console.print(shown(f"- {sentence}", style="dim"))


def _kept_table(outcome: dict[str, Any]) -> Table:
    table = Table(
        "source", "language", title="Kept: before → after", title_justify="left", title_style="bold"
    )
    for heading in ("documents", "tokens", "tokens in shards"):
        table.add_column(heading, justify="right")
    for line in outcome["kept"][:_SHOWN_LINES]:
        mark = "~" if line["estimated"] else ""
        table.add_row(
            shown(line["source"]),
            shown(line["language"]),
            _change(line["documents"]),
            _change(line["tokens"], mark),
            _change(line["tokens_after"], mark),
        )
    rest = outcome["kept"][_SHOWN_LINES:]
    if rest:
        sums = [
            [sum(line[name][side] for line in rest) for side in (0, 1)]
            for name in ("documents", "tokens", "tokens_after")
        ]
        table.add_row(f"{len(rest)} more", "", *(_change(sides) for sides in sums))
    return table


def _rules_table(rules: dict[str, dict[str, int]]) -> Table:
    table = Table("rule", title="Rules that decide differently", title_justify="left", title_style="bold")
    table.add_column("fail it now", justify="right")
    table.add_column("pass it now", justify="right")
    for name, effect in rules.items():
        table.add_row(name, f"{effect['caught']:,}", f"{effect['freed']:,}")
    return table


def _reasons_table(changed: dict[str, list[int]]) -> Table:
    table = Table("reason", title="Dropped, by first reason", title_justify="left", title_style="bold")
    table.add_column("documents", justify="right")
    for reason, sides in changed.items():
        table.add_row(reason, _change(sides))
    return table


def _change(sides: Sequence[int], mark: str = "") -> Text:
    """before → after, or the one number that did not change."""
    before, after = sides
    if before == after:
        return Text(f"{before:,}")
    style = "green" if after > before else "red"
    return Text.assemble(f"{before:,} → ", (f"{mark}{after:,}", style), (f" ({after - before:+,})", "dim"))
