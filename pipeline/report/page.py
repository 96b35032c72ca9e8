"""report.html: a finished run on one page that needs nothing else, no script, no network.

The page is drawn from the manifest, the commit rows and the timings of the run. Everything from data is
escaped by the template engine and has its control characters taken out; the content policy allows nothing but
the page's own style.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from pipeline.phase import Job
from pipeline.report.display import cleaned
from pipeline.report.duplicates_view import view_duplicates
from pipeline.report.facts import Facts, Stage, gather_facts
from pipeline.report.mixture import explain_shortage
from pipeline.report.summary import human_bytes, human_seconds

_FOLDER = Path(__file__).parent
_SHOWN_INPUTS = 50
_SHOWN_LANGUAGES = 30
_SHOWN_STAGES = 8
_SHOWN_GROUPS = 50
_MEANINGS = {  # stages of the funnel that is drawn, in order
    "read": "records of the inputs",
    "text": "decoded and extracted",
    "gate": "stopped before storing",
    "decide": "rules and duplicates",
    "encode": "text to tokens",
    "mix": "drawn by the repeats",
    "copies": "dealt to shards",
    "shards": "written in rows",
}
_OF_COPIES = ("copies", "shards")  # the others count records, of which each is at most one document
_PHASES = ("annotate", "deduplicate", "decide", "pack")
_LEAST_SHOWN = 0.4  # per cent of a bar's width: what is there can be seen

Bars = list[tuple[str, str, str]]  # (start, width, class), per cent


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: cleaned(value) if type(value) is str else value,
    )
    environment.filters |= {"number": "{:,}".format, "size": human_bytes, "time": human_seconds}
    return environment.get_template("page.html")


def render_page(job: Job, manifest: Mapping[str, Any]) -> str:
    """The page of a run as HTML; a function of the manifest, the commit rows and the timings."""
    facts = gather_facts(job, manifest)
    style = (_FOLDER / "page.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return _template().render(
        style=_trusted(style),
        style_hash=_trusted(f"sha256-{digest}"),
        name=job.recipe.name,
        source_names=", ".join(source["name"] for source in manifest["sources"]),
        balanced=manifest["balanced"],
        problems=manifest["problems"],
        digest=manifest["content_digest"],
        environment=manifest["environment"],
        vocabulary=manifest["vocabulary"],
        row_tokens=job.recipe.pack.row_tokens,
        figures=_figures(manifest),
        funnel=_funnel(facts),
        kept=_kept(facts),
        more_kept=_more_kept(facts),
        duplicates=view_duplicates(job.recipe, manifest["dedup"]),
        perplexity=manifest["perplexity"],
        tests=manifest["decontamination"],
        takedowns=manifest["takedowns"],
        sources=_sources(manifest),
        groups=_groups(manifest["mixture"]),
        more_groups=max(0, len(manifest["mixture"]["groups"]) - _SHOWN_GROUPS),
        shortage=explain_shortage(manifest["mixture"], job.recipe.mixture),
        splits=_splits(manifest),
        phases=_phases(facts),
        stages=_longest_stages(facts),
        inputs=manifest["inputs"][:_SHOWN_INPUTS],
        more_inputs=max(0, len(manifest["inputs"]) - _SHOWN_INPUTS),
    )


def _trusted(text: str) -> Any:
    """Text of the package itself, which the template must not escape or clean."""
    return Markup(text)


def _figures(manifest: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(heading, figure, what stands below it)."""
    totals = manifest["totals"]
    size = sum(entry["bytes"] for entry in manifest["inputs"])
    files = len(manifest["inputs"])
    shards = [shard for of_split in manifest["tokens"].values() for shard in of_split]
    share = f"{totals['kept'] / totals['documents']:.1%} of them" if totals["documents"] else ""
    return [
        ("input", human_bytes(size), f"{files:,} file{'s' if files != 1 else ''}"),
        ("documents read", f"{totals['documents']:,}", "with text, past the gates"),
        ("documents kept", f"{totals['kept']:,}", share),
        ("tokens", f"{totals['tokens']:,}", "in shards, copies included"),
        ("rows", f"{totals['rows']:,}", f"in {len(shards):,} shard{'s' if len(shards) != 1 else ''}"),
    ]


def _funnel(facts: Facts) -> list[dict[str, Any]]:
    """Stages with bars: what goes on, then what is dropped; records and copies have a scale each."""
    stages = [stage for stage in facts.funnel if stage.name in _MEANINGS]
    scales = [0, 0]
    for stage in stages:
        of_copies = stage.name in _OF_COPIES
        scales[of_copies] = max(scales[of_copies], stage.came)
    return [
        {
            "name": stage.name,
            "meaning": _MEANINGS[stage.name],
            "came": stage.came,
            "left": stage.left,
            "dropped": stage.dropped,
            "bars": _stage_bars(stage, scales[stage.name in _OF_COPIES]),
        }
        for stage in stages
    ]


def _stage_bars(stage: Stage, most: int) -> Bars:
    return _bars([(stage.left, "kept"), (stage.came - stage.left, "gone")], most)


def _bars(lengths: Sequence[tuple[float, str]], most: float) -> Bars:
    """Lengths one behind the other, as shares of the greatest; fixed decimals, so that equal figures draw
    equally.
    """
    bars: Bars = []
    start = 0.0
    for length, name in lengths:
        if length > 0 and most > 0:
            width = max(100 * length / most, _LEAST_SHOWN)
            start = min(start, 100 - width)
            bars.append((f"{start:.2f}", f"{width:.2f}", name))
            start += width
    return bars


def _kept(facts: Facts) -> list[dict[str, Any]]:
    total = sum(tokens for *_, tokens in facts.kept)
    most = max((tokens for *_, tokens in facts.kept), default=0)
    return [
        {
            "source": source,
            "language": language,
            "documents": documents,
            "tokens": tokens,
            "share": _share(tokens, total),
            "bars": _bars([(tokens, "kept")], most),
        }
        for source, language, documents, tokens in facts.kept[:_SHOWN_LANGUAGES]
    ]


def _more_kept(facts: Facts) -> dict[str, int] | None:
    rest = facts.kept[_SHOWN_LANGUAGES:]
    if not rest:
        return None
    documents, tokens = sum(line[2] for line in rest), sum(line[3] for line in rest)
    return {"groups": len(rest), "documents": documents, "tokens": tokens}


def _sources(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    total = sum(source["tokens_after"] for source in manifest["sources"])
    return [
        {**source, "repeats": f"{source['repeats']:g}", "share": _share(source["tokens_after"], total)}
        for source in manifest["sources"]
    ]


def _groups(mixture: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The groups of a computed mixture, most tokens first; none where the recipe gives the repeats."""
    if mixture["method"] == "repeats":
        return []
    groups = sorted(mixture["groups"], key=lambda group: (-group["trained"], group["group"]))
    return [
        {
            **group,
            "repeats": f"{group['repeats_micro'] / 1_000_000:g}",
            "wanted": f"{group['share_wanted']:.1%}",
            "got": f"{group['share_got']:.1%}",
        }
        for group in groups[:_SHOWN_GROUPS]
    ]


def _splits(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    sums = ("rows", "tokens", "bytes")
    return [
        {
            "split": split,
            "shards": len(shards),
            **{name: sum(shard[name] for shard in shards) for name in sums},
        }
        for split, shards in manifest["tokens"].items()
    ]


def _phases(facts: Facts) -> list[dict[str, Any]]:
    return [
        {"name": name, "seconds": facts.seconds.get(name, 0.0), "bytes": facts.bytes.get(name, 0)}
        for name in _PHASES
    ]


def _longest_stages(facts: Facts) -> list[dict[str, Any]]:
    longest = sorted(facts.stage_seconds.items(), key=lambda stage: (-stage[1], stage[0]))[:_SHOWN_STAGES]
    most = longest[0][1] if longest else 0.0
    return [
        {"name": name, "seconds": spent, "bars": _bars([(spent, "kept")], most)} for name, spent in longest
    ]


def _share(number: int, total: int) -> str:
    return f"{number / total:.1%}" if total else ""
