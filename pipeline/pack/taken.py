"""Where the copies of documents lay that were taken down: a function of their ids, as where any copy lies."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from pipeline.decide.mixture import copies as number_of_copies
from pipeline.pack.exchange import Dealing, deal
from pipeline.phase import Row
from pipeline.schema import ID


class TakenCopy(NamedTuple):
    """One copy; `tokens` with its <|endoftext|>."""

    request: int
    id: str
    split: str
    shard: int
    copy: int
    tokens: int


def taken_copies(encoded: Iterable[Row], mixture: Mapping[str, Any], *, seed: int) -> Iterator[TakenCopy]:
    """The copies that rows of work/encoded remember, by the notes of work/mixture."""
    for row in encoded:
        if taken := row.notes.get("taken"):
            yield from copies_of(row.number, taken["source"], taken["documents"], mixture, seed=seed)


def copies_of(
    part: int, source: str, documents: Sequence[Sequence[Any]], mixture: Mapping[str, Any], *, seed: int
) -> Iterator[TakenCopy]:
    """All copies of documents (request, id in hex, row, validation, factor, language, tokens) of one part."""
    if not documents:
        return
    micro = {language: repeats for name, language, _, repeats in mixture["repeats"] if name == source}
    ids = pa.array([bytes.fromhex(document[1]) for document in documents], ID)
    factors = np.array([document[4] for document in documents], np.int64)
    held_out = np.array([document[3] for document in documents], bool)
    repeats = np.array([micro[document[5]] for document in documents], np.int64)
    times = np.where(held_out, 1, number_of_copies(ids, repeats * factors, seed=seed)).astype(np.int64)
    rows = np.repeat(np.arange(len(documents)), times)
    copy = np.arange(len(rows)) - np.repeat(np.cumsum(times) - times, times)
    for split, wanted in (("train", ~held_out[rows]), ("validation", held_out[rows])):
        dealing = Dealing(**mixture["dealings"][split])
        of_split, number = rows[wanted], copy[wanted]
        _, shards = deal(ids.take(pa.array(of_split)), number, part, dealing=dealing, seed=seed)
        for at, which, shard in zip(of_split.tolist(), number.tolist(), shards.tolist(), strict=True):
            request, identifier, *_, tokens = documents[at]
            yield TakenCopy(request, identifier, split, shard, which, tokens + 1)
