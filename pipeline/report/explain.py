"""The way of one document through a run, as JSON-able values: where it came from, what was measured, what was
decided and why, whom it is a duplicate of, and where its copies lie.

Everything is read from the document's own part, its cluster's labels and one shard per copy. The text itself
is shown as an excerpt with its edits applied, so that what was masked stays masked.
"""

from collections.abc import Iterator
from dataclasses import asdict
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline import schema
from pipeline.annotate.digests import url_digests
from pipeline.annotate.perplexity import perplexity
from pipeline.config import Source
from pipeline.decide.edits import apply_edits
from pipeline.decide.lists import has_lists, load_lists
from pipeline.decide.mixture import MICRO, rehydration
from pipeline.decide.percentiles import bucket_edges
from pipeline.decide.phase import evaluate_rules
from pipeline.decide.provenance import licences_of
from pipeline.decide.repeats_step import all_edits
from pipeline.decide.shares import group_name
from pipeline.decide.takedowns import TAKEDOWN
from pipeline.decide.thresholds import (
    BUCKET_RULE,
    LANGUAGE_RULE,
    LICENCE_RULE,
    LIST_RULE,
    OVERLAP_RULE,
    RULE_NAMES,
    buckets_of,
    max_test_hits,
    thresholds_for,
)
from pipeline.dedup.clusters import forest_files
from pipeline.dedup.earlier import whose_part
from pipeline.phase import Job, need_rows
from pipeline.report.contamination import explain_overlaps
from pipeline.report.lineage import find_copies, frozen_repeats
from pipeline.report.run_folder import read_document, split_locator
from pipeline.rules import LOG_STEPS, PERPLEXITY_BUCKETS, RULES, terms_of

SHOWN_MEMBERS = 10
_EXCERPT_CHARACTERS = 400
_DECLARED = ("canonical_url", "registered_domain", "author", "published", "declared_language")
_BRIEF = ("id", "source", "path", "offset", "index", "url", "date", "licence", "title")


def explain_document(job: Job, locator: int) -> dict[str, Any]:
    """All that a run knows of one document."""
    documents = read_document(job, "documents", locator)
    measures = read_document(job, "measures", locator)
    decision = read_document(job, "decisions", locator).to_pylist()[0]
    cluster = read_document(job, "clusters", locator).to_pylist()[0]
    document = documents.select([name for name in documents.schema.names if name != "text"]).to_pylist()[0]
    wide = ("edits", "test_spans")
    counts = measures.select([name for name in measures.schema.names if name not in wide]).to_pylist()[0]
    source = find_source(job, document["source"])
    part, row = split_locator(locator)
    edits = all_edits(job, part, measures, first=row)
    excerpt = apply_edits(documents["text"], edits)[0].as_py()[:_EXCERPT_CHARACTERS]
    overlaps = explain_overlaps(job, part, row, documents["text"], measures)
    if decision["reason"] == TAKEDOWN:  # what was taken down is shown nowhere
        excerpt, overlaps = "", [{**of_set, "spans": []} for of_set in overlaps]
    return {
        "id": document["id"].hex(),
        "part": part,
        "row": row,
        "source": {name: getattr(source, name) for name in ("name", "kind", "licence", "priority")},
        "licence": document["licence"] or source.licence,
        **{
            name: document[name]
            for name in ("path", "offset", "length", "index", "url", "date", "charset", "title", *_DECLARED)
        },
        "language": counts.pop("language"),
        "language_score": counts.pop("language_score") / schema.SCORE_STEPS,
        "perplexity": explain_perplexity(job, measures),
        "excerpt": excerpt,
        "measures": counts,
        "overlaps": overlaps,
        "rules": explain_rules(job, source, documents, measures),
        "decision": {name: decision[name] for name in ("kept", "reason", "failing", "validation")},
        "cluster": _cluster(job, cluster, decision),
        "edits": edits.to_pylist()[0],
        **_placed(job, document, measures["language"][0].as_py(), decision, locator, cluster["cluster_size"]),
    }


def brief_document(job: Job, locator: int) -> dict[str, Any]:
    """Where one document came from: id, source, place in the file, URL, date, title; `run` names the folder
    of an earlier run.
    """
    part, row = split_locator(locator)
    own, number, _ = whose_part(job, part)
    document = read_document(own, "documents", schema.locator(number, row), _BRIEF).to_pylist()[0]
    source = find_source(own, document["source"])
    run = {} if own is job else {"run": own.output}
    return {**document, "id": document["id"].hex(), "licence": document["licence"] or source.licence, **run}


def read_excerpt(job: Job, locator: int, characters: int) -> str:
    """The beginning of a document's text with the edits of its measures (personal data masked)."""
    text = read_document(job, "documents", locator, ["text"])["text"]
    edits = read_document(job, "measures", locator, ["edits"])["edits"]
    return apply_edits(text, edits)[0].as_py()[:characters]


def find_source(job: Job, name: str) -> Source:
    """The source of that name in the recipe."""
    return next(source for source in job.recipe.sources if source.name == name)


def explain_rules(
    job: Job, source: Source, documents: pa.RecordBatch, measures: pa.RecordBatch
) -> list[dict[str, Any]]:
    """Every rule that the recipe sets for this kind and language: its exact value, the threshold, and whether
    it passes.

    `documents` and `measures` have one row. `value` is the exact share as [numerator, denominator], or in
    words: the language, the licence, the entry of a list.
    """
    language = measures["language"][0].as_py()
    limits = thresholds_for(job.recipe.decide.thresholds, source.kind, language)
    most = max_test_hits(job.recipe.decontaminate)
    failing = dict(zip(RULE_NAMES, evaluate_rules(job, documents, measures)[0].tolist(), strict=True))
    explained: list[dict[str, Any]] = list(_explain_provenance(job, source, documents))
    if limits.languages is not None:
        explained.append(
            {"rule": LANGUAGE_RULE, "of": "language", "value": language, "threshold": list(limits.languages)}
        )
    for rule in RULES:
        limit = getattr(limits, rule.key)
        if limit is not None:
            value = count_of(measures, rule.measure)
            per = count_of(measures, rule.per) if isinstance(rule.per, str) else rule.per
            of = f"{rule.measure} / {rule.per}" if isinstance(rule.per, str) else rule.measure
            found = {"rule": rule.key, "of": of, "value": [value, per], "threshold": limit}
            explained.append({**found, "perplexity": perplexity(value, per)} if rule.logarithmic else found)
    if limits.buckets is not None and (of_text := explain_perplexity(job, measures)):
        bucket, threshold = of_text["bucket"] or "none", list(limits.buckets)
        explained.append({"rule": BUCKET_RULE, "of": "perplexity", "value": bucket, "threshold": threshold})
    if most is not None and job.recipe.decontaminate.checks(source.kind):
        hits = measures["test_hits"][0].as_py()
        explained.append({"rule": OVERLAP_RULE, "of": "test_hits", "value": [hits, 1], "threshold": most})
    return [{**rule, "passes": not failing[rule["rule"]]} for rule in explained]


def explain_perplexity(job: Job, measures: pa.RecordBatch) -> dict[str, Any] | None:
    """The perplexity of the one row of `measures`, its bucket ("" where rules want none of its language), and
    the cut-offs of these; None for a text that no model has scored.
    """
    cost, tokens = (measures[name][0].as_py() for name in ("lm_cost", "lm_tokens"))
    language = measures["language"][0].as_py()
    edges = bucket_edges(job).get(language)
    if not tokens:
        return None
    at = int(buckets_of(np.array([cost]), np.array([tokens]), edges)[0]) if edges else None
    return {
        "value": perplexity(cost, tokens),
        "model": job.recipe.annotate.perplexity[language],
        "bucket": "" if at is None else PERPLEXITY_BUCKETS[at],
        "cut_offs": [10 ** (edge / LOG_STEPS) for edge in edges or ()],
    }


def count_of(measures: pa.RecordBatch, expression: str) -> int:
    """What a rule compares of the one row of `measures`: a column, or several added up or taken off."""
    return sum(sign * measures[name][0].as_py() for sign, name in terms_of(expression))


def _explain_provenance(job: Job, source: Source, documents: pa.RecordBatch) -> Iterator[dict[str, Any]]:
    decide = job.recipe.decide
    if decide.licences:
        licence = licences_of(documents, source)[0]
        yield {"rule": LICENCE_RULE, "of": "licence", "value": licence, "threshold": list(decide.licences)}
    if has_lists(job):
        found = load_lists(job).explain(documents["url"][0].as_py())
        names = [path.rstrip("/").rpartition("/")[2] for path in (*decide.block_lists, *decide.allow_lists)]
        yield {"rule": LIST_RULE, "of": "url", "value": found, "threshold": names}


def share(value: list[int]) -> Fraction | None:
    """The exact number that a rule compared; None for a share of nothing."""
    return Fraction(value[0], value[1]) if value[1] else None


def _cluster(job: Job, cluster: dict[str, Any], decision: dict[str, Any]) -> dict[str, Any]:
    survivor = decision["survivor"]
    alone = cluster["cluster_size"] == 1
    locators = [] if alone else _first_members(job, cluster["cluster"], cluster["cluster_size"])
    return {
        "id": decision["cluster_id"].hex(),
        "size": cluster["cluster_size"],
        "members": [brief_document(job, member) for member in locators],
        "survivor": None if survivor is None or alone else brief_document(job, survivor),
        "survivor_by": decision["survivor_by"],
        "partners": [partner.hex() for partner in decision["partners"]],
    }


def _first_members(job: Job, cluster: int, size: int) -> list[int]:
    """The first locators of a cluster, which are its label and those that the forest joins to it."""
    wanted, found = min(size, SHOWN_MEMBERS) - 1, []
    for file in forest_files(job):
        with job.storage().open_input(file.name) as source:
            forest = pq.ParquetFile(source)
            for group in range(forest.num_row_groups):
                limits = forest.metadata.row_group(group).column(1).statistics
                if limits is not None and limits.has_min_max and not limits.min <= cluster <= limits.max:
                    continue
                rows = forest.read_row_group(group, use_threads=False)
                found += rows.filter(pc.field("b") == pa.scalar(cluster, pa.uint64()))["a"].to_pylist()
                if len(found) >= wanted:
                    return [cluster, *sorted(found)[:wanted]]
    return [cluster, *sorted(found)[:wanted]]


def _placed(
    job: Job,
    document: dict[str, Any],
    language: str,
    decision: dict[str, Any],
    locator: int,
    cluster_size: int,
) -> dict[str, Any]:
    """Repeats of the document's group, the factor of its cluster's size, copies and tokens; none of them for
    a document that was dropped.
    """
    if not decision["kept"]:
        return {"repeats": 0.0, "group": None, "factor": 1, "tokens": None, "copies": []}
    validation = decision["validation"]
    factor = int(rehydration(np.array([cluster_size]), job.recipe.decide.rehydrate)[0])
    key = (document["source"], language)
    micro = frozen_repeats(job)[key]
    copies = find_copies(job, document["id"], locator, micro=micro * factor, validation=validation)
    return {
        "repeats": 1.0 if validation else micro / MICRO,
        "group": None if validation else group_name(job.recipe.mixture, key),
        "factor": 1 if validation else factor,
        "tokens": copies[0].tokens - 1 if copies else None,  # without <|endoftext|>
        "copies": [asdict(copy) for copy in copies],
    }


def find_quarantined(job: Job, url: str) -> Iterator[dict[str, Any]]:
    """Records with this URL that were set aside or stopped; opens the quarantine file of every part."""
    wanted = url_digests(pa.array([url]))[0].as_py()
    columns = [column.name for column in schema.QUARANTINE if column.name != "raw"]
    for row in need_rows(job, "documents", range(job.parts)):
        file = row.file("quarantine")
        if not file.rows:
            continue
        with job.storage().open_input(file.name) as source:
            records = pq.read_table(source, columns=columns, use_threads=False)
        digests = url_digests(records["url"]).to_pylist()
        yield from (record for record, d in zip(records.to_pylist(), digests, strict=True) if d == wanted)
