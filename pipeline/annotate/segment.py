"""Chinese words of a dictionary: jieba's segmentation, by the package rjieba, as FineWeb2's rules are meant.

About 10 MB/s a core. Without it a Chinese word is one character (kernels/words.py), which needs no dictionary
and is what all other counts are of.
"""

import importlib.util
from importlib.metadata import version

import pyarrow as pa

from pipeline.kernels.segmented import measure_segmented

SEGMENTED = "jieba"  # the group of counts that needs it
PACKAGE = "rjieba"


def measure_jieba(text: pa.Array) -> pa.RecordBatch:
    """counts.JIEBA_COUNTS (uint32) of string or large_string; null counts as empty text."""
    import rjieba  # reads its dictionary, 0.3 s

    # Lines are kept apart: no word goes over the end of one.
    cut = [
        "\n".join(" ".join(rjieba.cut(line)) for line in (value or "").split("\n"))
        for value in text.to_pylist()
    ]
    return measure_segmented(pa.array(cut, pa.large_string()))


def segmenter_version() -> str:
    """Of the installed segmenter; "" if there is none."""
    return version(PACKAGE) if importlib.util.find_spec(PACKAGE) else ""
