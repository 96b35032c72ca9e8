"""Stored text as sets of shingles, for exact similarity: the same shingles as those that were signed."""

import pyarrow as pa

from pipeline.annotate.derived import shingling_of, units_of
from pipeline.kernels.compare import Evidence
from pipeline.kernels.shingles import shingle_sets
from pipeline.phase import Job


def shingle_evidence(job: Job, text: pa.Array) -> Evidence:
    """Sorted distinct shingle hashes of every text, as the recipe shingles it."""
    return Evidence(*shingle_sets(units_of(job, text), shingling_of(job)))
