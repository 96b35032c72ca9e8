"""Generated text of any size for benchmarks of deduplication: Markov chains over real text, with planted
copies.

Copying a pool would only make hot buckets. Here documents are walks over the words (English) or characters
(Chinese) that follow each other in real text: unrelated documents share almost no shingle, words have their
real lengths and frequencies. Of every hundred documents five are exact copies of others of their file, and
twenty are copies in which up to a tenth of the units is replaced. Keyed and deterministic: file n of a
language is the same on every machine, whatever the number of files.
"""

import gzip
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

DATA = (Path(__file__).resolve().parents[2] / "../shared/data/text").resolve()
FALLBACK = Path(__file__).resolve().parents[2] / "pipeline/quickstart/books"
UNITS = {"en": 850, "zh": 2_700}  # a document of about 5 kB
_EXACT, _EDITED, _MOST_REPLACED = 0.05, 0.20, 0.10


@cache
def _chain(language: str) -> tuple[pa.Array, np.ndarray, np.ndarray, np.ndarray]:
    """(units, successors of all, where those of a unit start, how many there are)."""
    path = DATA / f"{language}.jsonl.gz"
    if path.exists():
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            texts = [json.loads(line)["text"] for line in lines]
    else:
        texts = [json.loads(line)["text"] for f in sorted(FALLBACK.glob("*.jsonl")) for line in f.open()]
    text = "\n".join(texts)[:12_000_000]
    spoken = text.split() if language == "en" else [c for c in text if not c.isspace()]
    units, walk = np.unique(np.array(spoken, object), return_inverse=True)
    order = np.argsort(walk[:-1], kind="stable")
    counts = np.bincount(walk[:-1], minlength=len(units))
    counts[walk[-1]] = max(counts[walk[-1]], 1)
    successors = np.append(walk[1:][order], walk[0])
    starts = np.cumsum(counts) - counts
    return pa.array(units.tolist(), pa.large_string()), successors, starts, counts


def generate(language: str, number: int, documents: int) -> pa.LargeStringArray:
    """The texts of file `number`."""
    units, successors, starts, counts = _chain(language)
    rng = np.random.Generator(np.random.PCG64([number, *language.encode()]))
    lengths = np.clip(rng.lognormal(0, 0.6, documents) * 0.84 * UNITS[language], 30, 20_000).astype(np.int64)
    source = np.arange(documents)
    kind = rng.random(documents)
    copied = (kind < _EXACT + _EDITED) & (source > 0)
    source[copied] = rng.integers(0, source[copied])
    while (moved := source != source[source]).any():
        source[moved] = source[source[moved]]  # of an original, not of a copy
    lengths = lengths[source]
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    walk = np.empty(offsets[-1], np.int32)
    by_length = np.argsort(-lengths, kind="stable")
    state = rng.integers(0, len(units), documents)[source]
    active = documents
    for step in range(int(lengths.max())):
        while active and lengths[by_length[active - 1]] <= step:
            active -= 1
        rows = by_length[:active]
        walk[offsets[rows] + step] = state[rows]
        here = state[rows]
        state[rows] = successors[starts[here] + rng.integers(0, 1 << 30, active) % counts[here]]
    for row in np.flatnonzero(copied):
        first = offsets[source[row]]
        walk[offsets[row] : offsets[row + 1]] = walk[first : first + lengths[row]]
    edited = copied & (kind >= _EXACT)
    share = np.where(edited, rng.random(documents) * _MOST_REPLACED, 0.0)
    replaced = np.flatnonzero(rng.random(len(walk)) < np.repeat(share, lengths))
    walk[replaced] = rng.integers(0, len(units), len(replaced))
    words = pa.LargeListArray.from_arrays(pa.array(offsets), units.take(pa.array(walk)))
    return pc.call_function(
        "binary_join", [words, pa.scalar(" " if language == "en" else "", pa.large_string())]
    )


def generate_files(language: str, size: int, *, per_file: int = 12_000) -> Iterator[pa.LargeStringArray]:
    """Files of about 60 MB until `size` bytes are reached."""
    made = number = 0
    while made < size:
        texts = generate(language, number, min(per_file, max(500, (size - made) // 5_000)))
        made += texts.nbytes
        number += 1
        yield texts
