"""A batch of documents to its row of MEASURES: language, counts of the text, edits, test questions in it.

Adds facts, drops nothing.
"""

import pyarrow as pa

from pipeline.annotate.decontaminate import Overlaps
from pipeline.annotate.personal_data import mask_personal_data as find_edits
from pipeline.kernels.scripts import count_scripts
from pipeline.kernels.text import measure_text
from pipeline.schema import EDITS, LANGUAGES, MEASURES, arrow_schema


def measure_documents(
    batch: pa.RecordBatch, *, mask_personal_data: bool, overlaps: Overlaps
) -> pa.RecordBatch:
    """MEASURES of a batch that has text and LANGUAGES, and shares `overlaps` with test sets."""
    counts, scripts = measure_text(batch["text"]), count_scripts(batch["text"])
    edits = find_edits(batch["text"]) if mask_personal_data else pa.array([[]] * batch.num_rows, EDITS)
    found = {
        **{column.name: batch[column.name] for column in LANGUAGES},
        **{name: made[name] for made in (counts, scripts) for name in made.schema.names},
        "edits": edits,
        "test_hits": overlaps.hits,
        "test_spans": overlaps.spans,
    }
    schema = arrow_schema(MEASURES)
    return pa.RecordBatch.from_arrays([found[name] for name in schema.names], schema=schema)
