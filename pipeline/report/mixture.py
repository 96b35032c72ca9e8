"""The mixture of a finished run: what every group was to have of the training tokens, and what it got.

Shares that were wanted come from the frozen mixture, those that were got from what was dealt to the training
shards. What could not be had is told in sentences, for the end of a run and its page.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.config import Mixture
from pipeline.decide.mixture import MICRO
from pipeline.decide.shares import group_name
from pipeline.phase import Job, Row

_SHOWN_GROUPS = 5  # that are named, of those that could not give their share


def describe_mixture(job: Job, rows: Mapping[str, Sequence[Row]]) -> dict[str, Any]:
    """The `mixture` of a manifest. Tokens are training tokens with their <|endoftext|>; `tokens` of a group
    are those of one pass over it, shares are rounded to millionths.
    """
    frozen, wanted = rows["work/mixture"][0].notes, job.recipe.mixture
    trained: Counter[tuple[str, str]] = Counter()
    for row in rows["work/exchange"]:
        for source, language, tokens in row.notes["trained"]:
            trained[source, language] += tokens
    got: Counter[str] = Counter()
    for key, tokens in trained.items():
        got[group_name(wanted, key)] += tokens
    whole = sum(trained.values())
    return {
        "method": wanted.method,
        "by": wanted.by,
        "target": frozen["target"],
        "missing": frozen["missing"],
        "trained": whole,
        "groups": [
            {
                "group": group["group"],
                "tokens": group["tokens"],
                "repeats_micro": group["repeats_micro"],
                "trained": got[group["group"]],
                "share_wanted": group["wanted_micro"] / MICRO,
                "share_got": got[group["group"]] * MICRO // whole / MICRO if whole else 0.0,
                "short": group["short"],
            }
            for group in frozen["groups"]
        ],
        "repeats": [
            {
                "source": source,
                "language": language,
                "tokens": tokens,
                "repeats_micro": micro,
                "trained": trained[source, language],
            }
            for source, language, tokens, micro in frozen["repeats"]
        ],
    }


def repeats_of_source(mixture: Mapping[str, Any], source: str) -> float:
    """Passes over a source: of its one group, else the mean of its languages, by tokens of a pass."""
    for group in mixture["groups"]:
        if group["group"] == source and mixture["by"] == "source":
            return group["repeats_micro"] / MICRO
    mine = [part for part in mixture["repeats"] if part["source"] == source]
    tokens = sum(part["tokens"] for part in mine)
    return sum(part["tokens"] * part["repeats_micro"] for part in mine) // tokens / MICRO if tokens else 0.0


def explain_shortage(mixture: Mapping[str, Any], settings: Mixture) -> list[str]:
    """Sentences about groups that could not give what was wanted of them; none if all did."""
    short = [group for group in mixture["groups"] if group["short"]]
    if not short:
        return []
    told = []
    for group in short[:_SHOWN_GROUPS]:
        why = f"{settings.max_epochs:g} passes (mixture.max_epochs) give no more"
        if not group["tokens"]:
            why = "nothing of it is kept for training"
        told.append(
            f"{group['group']}: {group['share_wanted']:.1%} of the training tokens wanted, "
            f"{group['share_got']:.1%} got: {why}"
        )
    if len(short) > _SHOWN_GROUPS:
        told.append(f"and {len(short) - _SHOWN_GROUPS} more groups, in MANIFEST.json")
    if not settings.tokens:
        told.append("What they lack is left out; the others keep their proportions (mixture.tokens = 0).")
    elif mixture["missing"]:
        told.append(
            f"No group has more to give: {mixture['missing']:,} of mixture.tokens = {mixture['target']:,} "
            "are missing."
        )
    else:
        told.append("What they lack is given by the others, in proportion to their shares.")
    return told
