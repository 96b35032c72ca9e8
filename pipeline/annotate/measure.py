"""A batch of documents to its row of MEASURES: language, counts and perplexity of the text, edits, test
questions in it.

Adds facts, drops nothing.
"""

from collections.abc import Callable, Collection, Mapping

import pyarrow as pa

from pipeline.annotate.decontaminate import Overlaps
from pipeline.annotate.perplexity import Scores
from pipeline.annotate.personal_data import mask_personal_data as find_edits
from pipeline.annotate.segment import measure_jieba
from pipeline.annotate.urls import measure_urls
from pipeline.counts import MEASURE_GROUPS
from pipeline.kernels.c4 import measure_c4
from pipeline.kernels.chinese import measure_chinese
from pipeline.kernels.code_files import measure_code
from pipeline.kernels.repetition_variants import measure_dclm, measure_dolma
from pipeline.kernels.scripts import count_scripts
from pipeline.kernels.spacy_tokens import measure_spacy
from pipeline.kernels.text import measure_text
from pipeline.schema import EDITS, LANGUAGES, MEASURES, arrow_schema

Scorer = Callable[[pa.RecordBatch], pa.RecordBatch]  # of a batch with text and language
_GROUPS = {
    "spacy": measure_spacy,
    "jieba": measure_jieba,
    "dolma": measure_dolma,
    "dclm": measure_dclm,
    "c4": measure_c4,
    "chinese": measure_chinese,
    "code": measure_code,
    "url": measure_urls,
}


def measure_documents(
    batch: pa.RecordBatch,
    *,
    groups: Collection[str],
    scorers: Mapping[str, Scorer],
    mask_personal_data: bool,
    overlaps: Overlaps,
    scores: Scores,
) -> pa.RecordBatch:
    """MEASURES of a batch that has text, url and LANGUAGES, shares `overlaps` with test sets and costs
    language models `scores`; counts of groups (counts.MEASURE_GROUPS) that are not among `groups` are null.
    `scorers`: those of groups that need models.
    """
    counts, scripts = measure_text(batch["text"]), count_scripts(batch["text"])
    edits = find_edits(batch["text"]) if mask_personal_data else pa.array([[]] * batch.num_rows, EDITS)
    found = {
        **{column.name: batch[column.name] for column in LANGUAGES},
        **{name: made[name] for made in (counts, scripts) for name in made.schema.names},
        **_count_groups(batch, groups, scorers),
        "lm_cost": scores.cost,
        "lm_tokens": scores.tokens,
        "edits": edits,
        "test_hits": overlaps.hits,
        "test_spans": overlaps.spans,
    }
    schema = arrow_schema(MEASURES)
    return pa.RecordBatch.from_arrays([found[name] for name in schema.names], schema=schema)


def _count_groups(
    batch: pa.RecordBatch, groups: Collection[str], scorers: Mapping[str, Scorer]
) -> dict[str, pa.Array]:
    nothing = pa.nulls(batch.num_rows, pa.uint32())
    counts: dict[str, pa.Array] = {}
    for group, columns in MEASURE_GROUPS.items():
        made = None
        if group in groups and group in scorers:
            made = scorers[group](batch)
        elif group in groups:
            made = _GROUPS[group](batch["url" if group == "url" else "text"])
        counts |= {name: nothing if made is None else made[name] for name in columns}
    return counts
