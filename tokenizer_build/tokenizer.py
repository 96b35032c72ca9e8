"""The tokenizer at run time: text to ids and back, one text at a time or whole Arrow columns.

    >>> tokenizer = Tokenizer.load("sluice-32k")
    >>> tokenizer.decode(tokenizer.encode("gold from gravel"))
    'gold from gravel'

The ids are those of tiktoken with the same vocabulary and pattern, for every text. What a page says never
becomes a special token: "<|endoftext|>" is spelled out in ordinary ones unless the caller allows it by name.
A str that holds surrogates is read as tiktoken reads it: pairs are joined, lone ones become U+FFFD. A column
that is no UTF-8 is refused.

Cost: loading takes 1 s for 151,643 ranks and 20 MB, each thread that encodes some 4 MB. Threads take chunks
of documents by turns, check and encode them without the GIL in memory of their own; the caller's thread
copies the ids to where they belong, in order. A call reserves four times the text's bytes for them, and
touches what it fills.
"""

import re
import unicodedata
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.kernels.buffers import read_only, text_buffers
from tokenizer_build.decode_kernel import decode_documents, measure_documents
from tokenizer_build.encode_kernel import SLACK, Scratch, encode_documents, first_bytes, new_scratch
from tokenizer_build.merge_kernel import SCRATCH_ROWS, merge_documents
from tokenizer_build.tables import Tables, build_tables, end_to_end
from tokenizer_build.unicode_classes import load_tables
from tokenizer_build.vocabulary import (
    PATTERNS,
    PieceRule,
    Vocabulary,
    find_vocabulary,
    load_ranks,
    pattern_of,
    special_tokens,
)

VERSION = 1  # of the ids: another number wherever a text may have other ids than before

_MOST_BYTES, _LEAST_BYTES = 1 << 21, 1 << 17  # of text that a thread takes at a time


class _Spelling(NamedTuple):
    """The bytes of all ids: those of id i are content[starts[i]:starts[i + 1]] if known[i]."""

    content: NDArray[np.uint8]
    starts: NDArray[np.int64]
    known: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Tokenizer:
    """A loaded vocabulary; safe to share between threads."""

    vocabulary: Vocabulary
    pattern: str
    specials: dict[str, int]  # special token -> id
    nfc: bool  # texts are brought into NFC first, as the released Qwen does
    _rule: PieceRule = field(repr=False)
    _tables: Tables = field(repr=False)
    _spelling: _Spelling = field(repr=False)
    _kinds: NDArray[np.uint8] = field(repr=False)
    _spare: list[Scratch] = field(default_factory=list, repr=False)

    @classmethod
    def load(cls, name_or_path: str | Path, *, sha256: str | None = None, nfc: bool = False) -> Self:
        """The tokenizer of a packaged name or a .tiktoken file, which must have this sha256 if one is given.

        FileNotFoundError if there is none; ValueError naming what is wrong with the file or its card.
        """
        path = find_vocabulary(str(name_or_path))
        vocabulary, ranks = load_ranks(path, sha256=sha256)
        pattern, specials = pattern_of(path), special_tokens(path, len(ranks))
        spelled = [*ranks, *[b""] * (vocabulary.n_vocab - len(ranks))]
        for special, token in specials.items():
            spelled[token] = special.encode()
        content, starts = end_to_end(spelled)
        known = np.array([bool(token) for token in spelled])
        spelling = _Spelling(read_only(content), read_only(starts), read_only(known))
        tables, kinds = build_tables(ranks), read_only(first_bytes())
        return cls(vocabulary, pattern, specials, nfc, PATTERNS[pattern], tables, spelling, kinds)

    def encode(self, text: str, *, allowed_special: Collection[str] | Literal["all"] = ()) -> list[int]:
        """Ids of a text. Special tokens of the names in `allowed_special` are taken for what they say.

        ValueError for a name that is no special token.
        """
        try:
            text.encode()
        except UnicodeEncodeError:
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        if self.nfc:
            text = unicodedata.normalize("NFC", text)
        allowed = set(self.specials if allowed_special == "all" else allowed_special)
        if unknown := allowed - self.specials.keys():
            raise ValueError(f"no special tokens of {self.vocabulary.name}: {', '.join(sorted(unknown))}")
        if not allowed:
            return self._encode_ordinary(text)
        ids = []
        # The longest first, should one begin with another; split keeps what a group matches, at odd places.
        either = "|".join(re.escape(special) for special in sorted(allowed, key=len, reverse=True))
        for place, part in enumerate(re.split(f"({either})", text)):
            ids += [self.specials[part]] if place % 2 else self._encode_ordinary(part)
        return ids

    def encode_batch(self, text: pa.Array, *, threads: int = 1) -> pa.ListArray:
        """list<int32> of ordinary ids per text (string or large_string); null for null.

        ValueError for text that is no UTF-8, or if there are 2^31 ids or more.
        """
        text, offsets = self._checked(text)
        ids, filled, counts = np.empty(int(offsets[-1] - offsets[0]), np.int32), 0, []
        for part_counts, part in self._each_chunk(text, offsets, threads):
            counts.append(part_counts)
            ids[filled : filled + len(part)] = part
            filled += len(part)
        if filled > np.iinfo(np.int32).max:
            raise ValueError(f"{filled} ids in one batch exceed int32 offsets: use smaller batches")
        ends = _offsets(np.concatenate(counts)).astype(np.int32)
        nulls = text.is_null() if text.null_count else None
        return pa.ListArray.from_arrays(pa.array(ends), pa.array(ids[:filled]), mask=nulls)

    def count_batch(self, text: pa.Array, *, threads: int = 1) -> pa.Int64Array:
        """The number of ordinary ids per text, null for null: `encode_batch` without room for the ids."""
        text, offsets = self._checked(text)
        counts = np.concatenate([part for part, _ in self._each_chunk(text, offsets, threads)])
        nulls = text.is_null().to_numpy(zero_copy_only=False) if text.null_count else None
        return pa.array(counts, pa.int64(), mask=nulls)

    def decode(self, ids: Sequence[int], *, errors: str = "replace") -> str:
        """The text of ids, special tokens spelled out; `errors` as for `bytes.decode`.

        Ids may begin or end inside a character. ValueError for an id that the vocabulary does not have.
        """
        content, _ = self._spell(np.array([0, len(ids)]), np.array(ids, np.int64))
        return content.tobytes().decode(errors=errors)

    def decode_batch(self, ids: pa.ListArray | pa.LargeListArray) -> pa.LargeStringArray:
        """The text of each list of ids (no nulls inside), null for null; U+FFFD for what is no UTF-8.

        ValueError for an id that the vocabulary does not have.
        """
        lengths = pc.call_function("list_value_length", [ids]).fill_null(0).to_numpy(zero_copy_only=False)
        values = ids.flatten().cast(pa.int64())
        if values.null_count:
            raise ValueError(f"{values.null_count} ids are null")
        content, offsets = self._spell(_offsets(lengths), values.to_numpy())
        text = pa.LargeStringArray.from_buffers(len(ids), pa.py_buffer(offsets), pa.py_buffer(content))
        try:
            text.validate(full=True)
        except pa.ArrowInvalid:
            spelled = text.view(pa.large_binary()).to_pylist()
            text = pa.array([value.decode(errors="replace") for value in spelled], pa.large_string())
        return (
            pc.call_function("if_else", [ids.is_valid(), text, pa.scalar(None, text.type)])
            if ids.null_count
            else text
        )

    def _encode_ordinary(self, text: str) -> list[int]:
        content = np.frombuffer(text.encode(), np.uint8)
        offsets = read_only(np.array([0, len(content)]))
        return self._encode_chunk(offsets, read_only(content))[1].tolist()

    def _each_chunk(
        self, text: pa.Array, offsets: NDArray[np.int64], threads: int
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int32]]]:
        """Number of ids per document, and the ids, of runs of documents, in order, by so many threads."""

        def encode(first: int, last: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
            part = text.slice(first, last - first)
            _check(part)
            return self._encode_chunk(*text_buffers(part))

        cuts = _cuts(offsets, threads)
        with ThreadPoolExecutor(threads) as pool:
            in_order = map if threads == 1 or len(cuts) == 2 else pool.map
            yield from in_order(encode, cuts[:-1], cuts[1:])

    def _encode_chunk(
        self, offsets: NDArray[np.int64], text: NDArray[np.uint8]
    ) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Number of ids per document, and the ids."""
        longest, most = int(np.diff(offsets).max(initial=0)), int(offsets[-1] - offsets[0]) + SLACK
        try:
            scratch = self._spare.pop()
        except IndexError:
            scratch = new_scratch(2 * _MOST_BYTES)
        room = scratch if most <= len(scratch.ids) else scratch._replace(ids=np.empty(most, np.int32))
        ends = np.empty(len(offsets) - 1, np.int64)
        blocks, classes = load_tables()
        digits, one_tail = self._rule
        if len(self._tables.halves):
            count = encode_documents(
                offsets,
                text,
                blocks,
                classes,
                self._kinds,
                digits,
                one_tail,
                self._tables,
                room,
                np.zeros(longest + 1, np.bool_),
                ends,
            )
        else:
            rows, heap = np.empty((SCRATCH_ROWS, longest), np.int64), np.empty(3 * longest, np.int64)
            count = merge_documents(
                offsets, text, blocks, classes, digits, one_tail, self._tables, rows, heap, room.ids, ends
            )
        # A copy of few pages, so that as many scratches do as there are threads.
        ids = room.ids[:count].copy()
        self._spare.append(scratch)
        return np.diff(ends, prepend=0), ids

    def _spell(
        self, offsets: NDArray[np.int64], ids: NDArray[np.int64]
    ) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """The bytes of lists of ids end to end, and the offsets of the lists in them."""
        spelling, ids = self._spelling, read_only(ids)
        ends = np.zeros(len(offsets), np.int64)
        wrong = measure_documents(read_only(offsets), ids, spelling.starts, spelling.known, ends[1:])
        if wrong >= 0:
            raise ValueError(f"{ids[wrong]} is no id of {self.vocabulary.name}")
        content = np.empty(int(ends[-1]), np.uint8)
        decode_documents(ids, spelling.starts, spelling.content, content)
        return content, ends

    def _checked(self, text: pa.Array) -> tuple[pa.Array, NDArray[np.int64]]:
        """The column, in NFC if asked for, and its offsets. TypeError for another type than strings.

        Whether each text is UTF-8 is left to the threads, unless NFC needs to know it.
        """
        offsets, content = text_buffers(text)
        _check(text, full=self.nfc)
        if self.nfc and content[offsets[0] : offsets[-1]].max(initial=0) >= 0x80:
            texts = (value and unicodedata.normalize("NFC", value) for value in text.to_pylist())
            text = pa.array(texts, pa.large_string())
            offsets = text_buffers(text).offsets
        return text, offsets


def _check(text: pa.Array, *, full: bool = True) -> None:
    try:
        text.validate(full=full)
    except pa.ArrowInvalid as error:
        raise ValueError(f"text is not UTF-8: {error}") from None


def _offsets(lengths: NDArray[np.integer]) -> NDArray[np.int64]:
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def _cuts(offsets: NDArray[np.int64], threads: int) -> list[int]:
    """Where to cut documents into chunks, both ends among them.

    Several threads end together because chunks grow smaller; every one costs its start in cold caches.
    """
    cuts, at, last = [0], int(offsets[0]), int(offsets[-1])
    while at < last:
        size = (
            _MOST_BYTES if threads == 1 else max(min((last - at) // (2 * threads), _MOST_BYTES), _LEAST_BYTES)
        )
        cut = int(np.searchsorted(offsets, min(at + size, last)))
        at = int(offsets[cut])
        cuts.append(cut)
    return [*cuts[:-1], len(offsets) - 1] if len(cuts) > 1 else [0, len(offsets) - 1]
