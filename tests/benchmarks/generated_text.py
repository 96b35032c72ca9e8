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

from pipeline.kernels.buffers import TextBuffers, read_only, text_array, text_buffers
from pipeline.kernels.jit import kernel
from pipeline.kernels.words import mix_bits

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
    text = "\n".join(texts)[: 12_000_000 if language == "en" else 2_000_000]  # 2 million units
    spoken = text.split() if language == "en" else list("".join(text.split()))
    encoded = pa.array(spoken, pa.large_string()).dictionary_encode()
    units, walk = encoded.dictionary, encoded.indices.to_numpy()
    order = np.argsort(walk[:-1], kind="stable")
    counts = np.bincount(walk[:-1], minlength=len(units))
    counts[walk[-1]] = max(counts[walk[-1]], 1)
    successors = np.append(walk[1:][order], walk[0]).astype(np.int32)
    starts = np.cumsum(counts) - counts
    return units, successors, starts, counts


@kernel
def _walk(offsets, first, successors, starts, counts, walk):
    documents, together = offsets.size - 1, 16  # every step waits for memory: sixteen walks wait at once
    for block in range(0, documents, together):
        stop = min(block + together, documents)
        longest = 0
        for document in range(block, stop):
            walk[offsets[document]] = first[document]
            longest = max(longest, offsets[document + 1] - offsets[document])
        for step in range(1, longest):
            for document in range(block, stop):
                at = offsets[document] + step
                if at < offsets[document + 1]:
                    here = walk[at - 1]
                    drawn = mix_bits(np.uint64(at) ^ np.uint64(first[document]) << np.uint64(32))
                    walk[at] = successors[starts[here] + np.int64(drawn % np.uint64(counts[here]))]


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
    _walk(offsets, rng.integers(0, len(units), documents)[source], successors, starts, counts, walk)
    for row in np.flatnonzero(copied):
        first = offsets[source[row]]
        walk[offsets[row] : offsets[row + 1]] = walk[first : first + lengths[row]]
    edited = copied & (kind >= _EXACT)
    share = np.where(edited, rng.random(documents) * _MOST_REPLACED, 0.0)
    replaced = np.flatnonzero(rng.random(len(walk)) < np.repeat(share, lengths))
    walk[replaced] = rng.integers(0, len(units), len(replaced))
    spelled = text_buffers(units)
    room = int(np.diff(spelled.offsets)[walk].sum()) + len(walk)
    text, text_offsets = np.empty(room, np.uint8), np.zeros(documents + 1, np.int64)
    _spell(offsets, walk, spelled.offsets, spelled.bytes, language == "en", text, text_offsets)
    return text_array(TextBuffers(read_only(text_offsets), read_only(text[: text_offsets[-1]])))


@kernel
def _spell(offsets, walk, unit_offsets, units, spaced, text, text_offsets):
    out = 0
    for document in range(offsets.size - 1):
        for at in range(offsets[document], offsets[document + 1]):
            if spaced and at > offsets[document]:
                text[out] = 0x20
                out += 1
            for byte in range(unit_offsets[walk[at]], unit_offsets[walk[at] + 1]):
                text[out] = units[byte]
                out += 1
        text_offsets[document + 1] = out


def generate_files(language: str, size: int, *, per_file: int = 12_000) -> Iterator[pa.LargeStringArray]:
    """Files of about 60 MB until `size` bytes are reached."""
    made = number = 0
    while made < size:
        texts = generate(language, number, min(per_file, max(500, (size - made) // 5_000)))
        made += texts.nbytes
        number += 1
        yield texts
