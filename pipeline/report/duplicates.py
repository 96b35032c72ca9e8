"""What a run says of its own deduplication: MANIFEST's `dedup`, made of commit rows.

Figures that theory gives are rounded to six decimals, so that no machine's last bit is in them.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping
from math import isqrt
from typing import Any

import pyarrow as pa

from pipeline.annotate.personal_data import mask_personal_data
from pipeline.decide.edits import apply_edits
from pipeline.decide.takedowns import TAKEDOWN, has_takedowns
from pipeline.dedup.curve import chance_of
from pipeline.dedup.quality import BAND_PPM, STEP_PPM
from pipeline.dedup.verified import least_ppm
from pipeline.ledger import Totals
from pipeline.phase import Job, Row
from pipeline.report.explain import brief_document, read_excerpt
from pipeline.report.run_folder import read_document

MILLION = 1_000_000
LARGEST = 20
_SAMPLES = 3
_SAMPLE_CHARACTERS = 160


def describe_duplicates(job: Job, rows: Mapping[str, list[Row]], totals: Totals) -> dict[str, Any]:
    """Recall of the planted copies by language and similarity beside the theory, precision of a sample of
    verified pairs, what was found, and the largest clusters with samples.
    """
    verified, signed = _sum(rows["work/verified"]), _sum(rows["work/signatures"])
    buckets = [row.notes for row in rows["work/candidates"] if row.notes["family"] == "band"]
    own = rows["clusters"][: job.parts]
    return {
        "recall": _recall(job, rows["work/recall"]),
        **_precision(job, rows["work/precision"][0]),
        "clusters": sum(row.notes["clusters"] for row in own),
        "clustered": sum(row.notes["clustered"] for row in own),
        "removed": sum(entry.records for entry in totals.dropped("decide") if entry.reason == "duplicate"),
        **{name: signed[name] for name in ("signed", "short", "capped", "planted")},
        "buckets": sum(notes["buckets"] for notes in buckets),
        "largest_bucket": max((notes["largest"] for notes in buckets), default=0),
        "cut_buckets": sum(notes["cut"] for notes in buckets),
        **{name: verified[name] for name in ("groups", "compared", "matched", "overflow")},
        "largest": _largest(job, own),
    }


def _sum(rows: list[Row]) -> Counter[str]:
    total: Counter[str] = Counter()
    for row in rows:
        total.update(row.notes)
    return total


def _recall(job: Job, rows: list[Row]) -> dict[str, dict[str, dict[str, Any]]]:
    """By language, then by band of similarity ("0.80-0.85"; "1.00" for copies that came out equal). Theory is
    the mean of the chances of the copies as they are, to 0.01 of similarity.
    """
    if not job.recipe.deduplicate.near:
        return {}
    steps: defaultdict[tuple[str, int], Counter[str]] = defaultdict(Counter)
    for row in rows:
        for language, step, planted, found in row.notes["planted"]:
            steps[language, step].update(planted=planted, found=found)
    chances = {step: _chance_of_step(job, step) for _, step in steps}
    bands: defaultdict[tuple[str, int], Counter[str]] = defaultdict(Counter)
    for (language, step), counts in steps.items():
        expected = counts["planted"] * chances[step]
        bands[language, step * STEP_PPM // BAND_PPM].update(**counts, expected=expected)
    recall: defaultdict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    for (language, band), counts in sorted(bands.items()):
        recall[language][band_name(band)] = {
            "planted": counts["planted"],
            "found": counts["found"],
            "recall": counts["found"] / counts["planted"],
            "theory": round(counts["expected"] / counts["planted"] / MILLION, 6),
        }
    return dict(recall)


def _chance_of_step(job: Job, step: int) -> int:
    """The chance, in millionths, that a copy is found whose similarity lies in a step."""
    return round(chance_of(job.recipe, min(1.0, (step + 0.5) * STEP_PPM / MILLION)) * MILLION)


def band_name(band: int) -> str:
    """The name of a band of similarity."""
    low = band * BAND_PPM / MILLION
    return "1.00" if low >= 1 else f"{low:.2f}-{low + BAND_PPM / MILLION:.2f}"


def _precision(job: Job, row: Row) -> dict[str, Any]:
    """`precision`: share of sampled pairs whose texts are at least as similar as one standard deviation of a
    signature's estimate below the threshold (exactly at the threshold where the texts themselves were
    compared); null without pairs.
    """
    choice, minhash = job.recipe.deduplicate, job.recipe.minhash
    exact: list[int] = row.notes["similarity_ppm"]
    threshold = least_ppm(job)
    spread = isqrt(threshold * (MILLION - threshold) // (minhash.bands * minhash.rows))
    least = threshold - spread if choice.verify in ("none", "signature") else threshold
    return {
        "precision": sum(ppm >= least for ppm in exact) / len(exact) if exact else None,
        "precision_sample": {
            "pairs": len(exact),
            "measure": "containment" if choice.verify == "containment" else "jaccard",
            "least_similarity": least / MILLION,
            "at_least_threshold": sum(ppm >= threshold for ppm in exact),
            "by_similarity": {band_name(band): number for band, number in row.notes["bands"]},
        },
    }


def _largest(job: Job, rows: list[Row]) -> list[dict[str, Any]]:
    """The largest clusters, with some of their members."""
    sizes: dict[int, int] = {}
    members: defaultdict[int, list[int]] = defaultdict(list)
    for row in rows:
        for size, cluster, places in row.notes["largest"]:
            sizes[cluster] = size
            members[cluster] += [row.number << 32 | place for place in places]
    chosen = sorted(sizes, key=lambda cluster: (-sizes[cluster], cluster))[:LARGEST]
    return [
        {
            "size": sizes[cluster],
            "samples": [_sample(job, locator) for locator in members[cluster][:_SAMPLES]],
        }
        for cluster in chosen
    ]


def _sample(job: Job, locator: int) -> dict[str, str]:
    """One member, its personal data masked in the title as it is in the text."""
    brief = brief_document(job, locator)
    text = read_excerpt(job, locator, _SAMPLE_CHARACTERS)
    if job.recipe.annotate.mask_personal_data:
        title = pa.array([brief["title"]])
        brief["title"] = apply_edits(title, mask_personal_data(title))[0].as_py()
    if has_takedowns(job) and _is_taken(job, locator):
        brief["title"] = text = ""
    return {**{name: brief[name] for name in ("id", "source", "url", "title")}, "text": text}


def _is_taken(job: Job, locator: int) -> bool:
    """Whether a document was taken down, or is a duplicate of one that was."""
    decision = read_document(job, "decisions", locator, ["reason", "survivor"]).to_pylist()[0]
    survivor = decision["survivor"]
    if decision["reason"] == TAKEDOWN or survivor in (None, locator) or survivor >> 32 >= job.parts:
        return decision["reason"] == TAKEDOWN
    return _is_taken(job, survivor)
