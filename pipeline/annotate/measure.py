"""A batch of documents to its row of MEASURES: language, counts of the text, edits, test questions in it.

Adds facts, drops nothing.
"""

import pyarrow as pa

from pipeline.annotate.decontaminate import Overlaps
from pipeline.annotate.personal_data import mask_personal_data as find_edits
from pipeline.kernels.text import measure_text
from pipeline.schema import EDITS, MEASURES, arrow_schema


def measure_documents(
    batch: pa.RecordBatch, *, mask_personal_data: bool, overlaps: Overlaps
) -> pa.RecordBatch:
    """MEASURES of a batch that has text, language, language_score, and shares `overlaps` with test sets."""
    counts = measure_text(batch["text"])
    edits = find_edits(batch["text"]) if mask_personal_data else pa.array([[]] * batch.num_rows, EDITS)
    given = {"language": batch["language"], "language_score": batch["language_score"], "edits": edits}
    given |= {"test_hits": overlaps.hits, "test_spans": overlaps.spans}
    schema = arrow_schema(MEASURES)
    return pa.RecordBatch.from_arrays(
        [given[n] if n in given else counts[n] for n in schema.names], schema=schema
    )
