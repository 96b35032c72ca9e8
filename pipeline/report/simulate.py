"""`sluice simulate`: before and after of a changed threshold, survivor policy or repeats, in seconds.

Numbers with "~" rest on estimated tokens (simulation.py). What no stored column can tell is said below the
tables.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.config import Mixture, Recipe, Source
from pipeline.decide.mixture import MICRO
from pipeline.phase import Job
from pipeline.report.display import shown
from pipeline.report.run_folder import open_run, read_manifest
from pipeline.report.settings import change_recipe
from pipeline.report.simulation import Key, Simulation, Tally, simulate

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
    sides = (simulation.repeats_before, simulation.repeats_after)
    passes = [{key: simulation.before[key].passed for key in keys}]
    passes += [{key: simulation.passed(key) for key in keys}]
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
                "repeats": [repeats.get(key, 0) / MICRO for repeats in sides],
                "estimated": after.unknown,
            }
        )
    kept.sort(key=lambda line: (-max(line["tokens"]), line["source"], line["language"]))
    sums = {name: _sum(kept, name) for name in ("documents", "tokens", "tokens_after", "validation")}
    reasons = sorted(simulation.reasons_before.keys() | simulation.reasons_after.keys())
    return {
        "kept": kept,
        "sources": [
            {
                "name": old.name,
                "repeats": [
                    _repeats_of(of.mixture, source, sides[at], passes[at])
                    for at, (of, source) in enumerate(((job.recipe, old), (recipe, new)))
                ],
                "tokens_after": _sum([line for line in kept if line["source"] == old.name], "tokens_after"),
            }
            for old, new in zip(job.recipe.sources, recipe.sources, strict=True)
        ],
        "mixture": _groups(simulation),
        "totals": {**sums, "estimated": sum(line["estimated"] for line in kept)},
        "rows": [manifest["totals"]["rows"], _rows_after(job, recipe, sums["tokens_after"], manifest)],
        "dropped": {
            reason: [simulation.reasons_before[reason], simulation.reasons_after[reason]]
            for reason in reasons
        },
        "rules": {
            name: {"caught": effect.caught, "freed": effect.freed}
            for name, effect in simulation.rules.items()
            if effect.caught or effect.freed
        },
        "unknown": list(_unknown(job, recipe, manifest)),
    }


def _sum(lines: Sequence[dict[str, Any]], name: str) -> list[int]:
    return [sum(line[name][side] for line in lines) for side in (0, 1)]


def _repeats_of(
    mixture: Mixture, source: Source, repeats: Mapping[Key, int], passes: Mapping[Key, int]
) -> float:
    """The recipe's repeats of a source, or the mean of those that were computed for its languages."""
    if mixture.method == "repeats":
        return source.repeats
    mine = [key for key in repeats if key[0] == source.name]
    tokens = sum(passes[key] for key in mine)
    return sum(passes[key] * repeats[key] for key in mine) // tokens / MICRO if tokens else 0.0


def _groups(simulation: Simulation) -> list[dict[str, Any]]:
    """The groups of the changed recipe's mixture; none if it gives the repeats."""
    return [
        {
            "group": group.name,
            "tokens": group.tokens,
            "repeats": group.repeats_micro / MICRO,
            "share_wanted": round(group.wanted * MICRO) / MICRO,
            "short": group.short,
        }
        for group in (simulation.mixed.groups if simulation.mixed else ())
    ]


def _rows_after(job: Job, recipe: Recipe, tokens: list[int], manifest: dict[str, Any]) -> int:
    """Rows by the changed recipe: those of the run if nothing changes, else without the padding of shards."""
    if tokens[0] == tokens[1] and recipe.pack == job.recipe.pack:
        return manifest["totals"]["rows"]
    return -(-tokens[1] // recipe.pack.row_tokens)


def _unknown(job: Job, recipe: Recipe, manifest: dict[str, Any]) -> list[str]:
    """What a simulation of a changed recipe cannot know from this run, in sentences."""
    gate = job.recipe.annotate.gate
    on = [f"min_characters = {gate.min_characters}"] if gate.min_characters else []
    on += [f"languages = {', '.join(gate.languages)}"] if gate.languages else []
    stopped = sum(
        e["records"] for e in manifest["ledger"] if e["stage"] == "gate" and e["reason"].startswith("gate_")
    )
    told = []
    if on:
        told.append(
            f"Behind the gates of the recipe ({'; '.join(on)}): the {stopped:,} documents that they stopped "
            "have no measures, so no threshold can bring them back."
        )
    rules = [name for name in ("text", "url", "near") if getattr(job.recipe.deduplicate, name)]
    told.append(
        f"Other clusters: duplicates stay as they were found ({', '.join(rules) or 'not at all'}); only who "
        "survives in a cluster can change."
    )
    if job.recipe.decide.repeated != "none":
        told.append(
            f"Repeated {job.recipe.decide.repeated}: where other documents are kept, others lose theirs; "
            "tokens are those of the texts as this run cut them."
        )
    if recipe.decontaminate.action != job.recipe.decontaminate.action:
        told.append(
            "Test questions in kept documents: their tokens are those of the texts as this run cut them, or "
            "did not."
        )
    told.append("Rows to the last one: they depend on how copies fall into shards.")
    return told


# --- for people ---------------------------------------------------------------------------------------------


def _print(console: Console, outcome: dict[str, Any]) -> None:
    console.print(_kept_table(outcome))
    console.print(_mixture_table(outcome))
    if short := [group["group"] for group in outcome["mixture"] if group["short"]]:
        told = f"{len(short)} groups cannot give their share within mixture.max_epochs: "
        console.print(shown(told + ", ".join(short[:_SHOWN_LINES]), style="yellow"))
    changed = {reason: sides for reason, sides in outcome["dropped"].items() if sides[0] != sides[1]}
    if outcome["rules"]:
        console.print(_rules_table(outcome["rules"]))
    if changed:
        console.print(_reasons_table(changed))
    held_out = outcome["totals"]["validation"]
    if held_out[0] != held_out[1]:
        console.print(Text.assemble("documents held out for validation: ", _change(held_out)))
    elif not outcome["rules"] and not changed:
        console.print(Text("no document is decided differently", style="dim"))
    if estimated := outcome["totals"]["estimated"]:
        whose = "1 document was" if estimated == 1 else f"{estimated:,} documents were"
        console.print(Text(f"~ {whose} never encoded: tokens are estimated from characters"))
    console.print(Text("What this cannot know:", style="bold"))
    for sentence in outcome["unknown"]:
        console.print(shown(f"- {sentence}", style="dim"))


def _kept_table(outcome: dict[str, Any]) -> Table:
    table = Table(title="Kept: before → after", title_justify="left", title_style="bold", show_footer=True)
    totals, mark = outcome["totals"], "~" if outcome["totals"]["estimated"] else ""
    table.add_column("source", "all")
    table.add_column("language")
    table.add_column("documents", _change(totals["documents"]), justify="right")
    table.add_column("tokens", _change(totals["tokens"], mark), justify="right")
    for line in outcome["kept"][:_SHOWN_LINES]:
        mark = "~" if line["estimated"] else ""
        documents, tokens = _change(line["documents"]), _change(line["tokens"], mark)
        table.add_row(shown(line["source"]), shown(line["language"]), documents, tokens)
    rest = outcome["kept"][_SHOWN_LINES:]
    if rest:
        sums = (_change(_sum(rest, name)) for name in ("documents", "tokens"))
        table.add_row(f"{len(rest)} more", "", *sums)
    return table


def _mixture_table(outcome: dict[str, Any]) -> Table:
    """Copies are counted with their ends; rows without the padding of shards."""
    table = Table(
        title="In shards: before → after", title_justify="left", title_style="bold", show_footer=True
    )
    totals, mark = outcome["totals"], "~" if outcome["totals"]["estimated"] else ""
    table.add_column("source", "all")
    table.add_column("repeats", Text.assemble("rows ", _change(outcome["rows"], "~")), justify="right")
    table.add_column("tokens", _change(totals["tokens_after"], mark), justify="right")
    for source in outcome["sources"]:
        table.add_row(shown(source["name"]), _passes(source), _change(source["tokens_after"], mark))
        mine = [line for line in outcome["kept"] if line["source"] == source["name"]]
        if any(line["repeats"] != source["repeats"] for line in mine if all(line["tokens"])):
            for line in mine[:_SHOWN_LINES]:  # most tokens first
                name = shown(f"  {line['language']}", style="dim")
                table.add_row(name, _passes(line), _change(line["tokens_after"], mark))
    return table


def _passes(line: dict[str, Any]) -> str:
    before, after = line["repeats"]
    return f"{before:g}" if before == after else f"{before:g} → {after:g}"


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
    """before → after, or the one number that did not change; `mark` stands before an estimate."""
    before, after = sides
    if before == after:
        return Text(f"{before:,}")
    return Text.assemble(f"{before:,} → ", (f"{mark}{after:,}", "green" if after > before else "red"))
