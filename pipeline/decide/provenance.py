"""Rules on where a document comes from: its licence, and block and allow lists for its URL.

Only the columns that a recipe asks for are read.
"""

from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.config import Source
from pipeline.decide.lists import has_lists, lists_content, load_lists
from pipeline.decide.takedowns import takedown_columns
from pipeline.decide.thresholds import LICENCE_RULE, LIST_RULE, RULE_NAMES, max_test_hits
from pipeline.phase import Job
from pipeline.plan import TAKEDOWNS


def provenance_columns(job: Job) -> list[str]:
    """What these rules need of documents/, beside `source`."""
    return (["licence"] if job.recipe.decide.licences else []) + (["url"] if has_lists(job) else [])


def decided_columns(job: Job) -> list[str]:
    """The columns of documents/ that decisions are made of, but for survivors."""
    return list(dict.fromkeys(["id", "source", *provenance_columns(job), *takedown_columns(job)]))


def choices(job: Job) -> tuple[Any, ...]:
    """What recipe and takedowns say of decisions; of lists what is in them, not where they lie."""
    decide = job.recipe.decide
    licences = [(source.name, source.licence) for source in job.recipe.sources] if decide.licences else []
    choices = replace(decide, block_lists=(), allow_lists=())
    most = max_test_hits(job.recipe.decontaminate)
    return choices, most, licences, lists_content(job), job.hashes.get(TAKEDOWNS, "")


def fail_provenance(job: Job, documents: pa.RecordBatch, source: Source, failing: np.ndarray) -> None:
    """Writes into bool [rows, len(RULE_NAMES)] which documents of a source fail these rules."""
    if passing := job.recipe.decide.licences:
        verdicts: dict[str, bool] = {}
        for licence in licences_of(documents, source):
            if licence not in verdicts:
                verdicts[licence] = not any(fnmatchcase(licence, pattern) for pattern in passing)
        found = [verdicts[licence] for licence in licences_of(documents, source)]
        failing[:, RULE_NAMES.index(LICENCE_RULE)] = found
    if has_lists(job):
        failing[:, RULE_NAMES.index(LIST_RULE)] = load_lists(job).blocked(documents["url"])


def licences_of(documents: pa.RecordBatch, source: Source) -> list[str]:
    """The licence of each document of a source: its own, or where it has none that of the source."""
    return [licence or source.licence for licence in documents["licence"].to_pylist()]
