"""A vocabulary as the merges that make it, and words encoded by them: the state from which training goes on.

Every token of more than one byte must be made by merging two earlier tokens when its own bytes are encoded
with the tokens before it. That is so for every vocabulary that BPE training has made (cl100k, Qwen, ours);
`split_tokens` refuses others. Encoding is exact and takes time with the square of a word's length, so
`piece_counts` cuts extreme words.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.kernels.jit import kernel
from tokenizer_build.bpe_train import lay_out
from tokenizer_build.pair_index import GONE, SEPARATOR, Words, find_slot, level_of, pair_key

_NONE = np.int32(2**31 - 1)  # a rank behind all others: no such merge


class Merges(NamedTuple):
    """Tokens in the order of their ids, and what each is made of."""

    tokens: list[bytes]
    pairs: NDArray[np.int32]  # [tokens, 2]: left id, right id; -1 for single bytes

    def byte_ids(self) -> NDArray[np.int32]:
        """The id of every single byte, int32 [256]."""
        ids = np.full(256, -1, np.int32)
        for token_id, token in enumerate(self.tokens):
            if len(token) == 1:
                ids[token[0]] = token_id
        return ids

    def sizes(self) -> NDArray[np.int32]:
        """Bytes of every token."""
        return np.fromiter(map(len, self.tokens), np.int32, len(self.tokens))

    def extended(self, pairs: NDArray[np.int32]) -> "Merges":
        """With further merges behind; ValueError if one makes a token that exists."""
        tokens = list(self.tokens)
        known = set(tokens)
        for left, right in pairs.tolist():
            tokens.append(tokens[left] + tokens[right])
        if len(known) + len(pairs) != len(known.union(tokens[len(self.tokens) :])):
            raise ValueError(
                "a merge makes a token that the vocabulary has: the words were not fully encoded"
            )
        return Merges(tokens, np.concatenate([self.pairs, pairs]))


def byte_merges() -> Merges:
    """The vocabulary of the 256 single bytes, in their order."""
    return Merges([bytes([byte]) for byte in range(256)], np.full((256, 2), -1, np.int32))


def split_tokens(tokens: Sequence[bytes]) -> Merges:
    """The merges behind tokens in the order of their ids.

    ValueError if a byte is missing or a token is not made of two earlier ones.
    """
    if len(set(tokens)) != len(tokens):
        raise ValueError("a token occurs twice")
    merges = Merges(list(tokens), np.full((len(tokens), 2), -1, np.int32))
    byte_ids, sizes = merges.byte_ids(), merges.sizes()
    if (byte_ids < 0).any():
        raise ValueError(f"the vocabulary lacks the byte 0x{int(np.argmin(byte_ids)):02x}")
    offsets = np.zeros(len(tokens) + 1, np.int64)
    np.cumsum(sizes, out=offsets[1:])
    content = np.frombuffer(b"".join(tokens), np.uint8)
    slots, keys, made = _empty_table(len(tokens))
    scratch = np.full((2, int(sizes.max()) + 2), SEPARATOR, np.int32)
    bad = int(
        _split(content, offsets, byte_ids, sizes, merges.pairs, slots, keys, made, scratch[0], scratch[1])
    )
    if bad >= 0:
        raise ValueError(f"token {bad} {tokens[bad]!r} is not made of two tokens before it")
    return merges


def encode_words(words: Words, merges: Merges) -> None:
    """Merge words of single bytes, in place, as far as the vocabulary goes."""
    is_merge = merges.pairs[:, 0] >= 0
    slots, keys, made = _empty_table(len(merges.tokens))
    _fill(np.flatnonzero(is_merge).astype(np.int32), merges.pairs, slots, keys, made)
    ranks = np.full(len(words.tokens), _NONE, np.int32)
    _encode(words.tokens, merges.sizes(), slots, keys, made, ranks)


def count_tokens(counted: pa.Table, merges: Merges) -> NDArray[np.int64]:
    """How often encoding counted pieces uses each token, int64 [tokens]."""
    words = lay_out(counted, merges.byte_ids())
    encode_words(words, merges)
    usage = np.zeros(len(merges.tokens), np.int64)
    _count_tokens(words, merges.sizes(), usage)
    return usage


def _empty_table(entries: int) -> tuple[NDArray[np.int32], NDArray[np.uint64], NDArray[np.int32]]:
    """Slots, keys and the token that each key makes."""
    size = 1 << max(4, (2 * entries).bit_length())
    return np.full(size, -1, np.int32), np.zeros(entries, np.uint64), np.zeros(entries, np.int32)


@kernel
def _fill(ids, pairs, slots, keys, made):
    for entry in range(ids.size):
        _enter(entry, ids[entry], pairs, slots, keys, made)


@kernel
def _enter(entry, token, pairs, slots, keys, made):
    key = pair_key(pairs[token, 0], pairs[token, 1])
    keys[entry] = key
    made[entry] = token
    slots[find_slot(slots, keys, key)] = entry


@kernel
def _rank(left, right, slots, keys, made):
    if left < 0 or right < 0:
        return _NONE
    entry = slots[find_slot(slots, keys, pair_key(left, right))]
    return made[entry] if entry >= 0 else _NONE


@kernel
def _encode_word(tokens, start, end, sizes, slots, keys, made, ranks):
    """Merge `tokens[start:end]` (single bytes between separators), lowest rank first, then leftmost."""
    for at in range(start, end):
        ranks[at] = _rank(tokens[at], tokens[at + 1], slots, keys, made)
    while True:
        best, place, at = _NONE, start, start
        while at < end:
            if ranks[at] < best:
                best, place = ranks[at], at
            at += sizes[tokens[at]]
        if best == _NONE:
            return
        middle = place + sizes[tokens[place]]
        behind = middle + sizes[tokens[middle]]
        tokens[middle] = GONE
        tokens[place] = best
        tokens[behind - 1] = best
        ranks[place] = _rank(best, tokens[behind], slots, keys, made)
        if tokens[place - 1] >= 0:
            before = place - sizes[tokens[place - 1]]
            ranks[before] = _rank(tokens[before], best, slots, keys, made)


@kernel
def _encode(tokens, sizes, slots, keys, made, ranks):
    at = 0
    while at < tokens.size:
        end = at
        while tokens[end] >= 0:
            end += 1
        if end > at:
            _encode_word(tokens, at, end, sizes, slots, keys, made, ranks)
        at = end + 1


@kernel
def _count_tokens(words, sizes, usage):
    at, level = 0, 0
    while at < words.tokens.size:
        token = words.tokens[at]
        if token < 0:
            at += 1
            continue
        if at >= words.level_ends[level]:
            level = level_of(words, at, level)
        usage[token] += words.level_counts[level]
        at += sizes[token]


@kernel
def _split(content, offsets, byte_ids, sizes, pairs, slots, keys, made, tokens, ranks):
    """Fill `pairs`; returns the first token that two earlier ones do not make, -1 if there is none.

    `tokens`, `ranks`: scratch for the longest token and a separator on both sides.
    """
    entries = 0
    for token in range(sizes.size):
        size = np.int64(sizes[token])
        if size == 1:
            continue
        for at in range(size):
            tokens[1 + at] = byte_ids[content[offsets[token] + at]]
        tokens[1 + size] = SEPARATOR
        _encode_word(tokens, 1, 1 + size, sizes, slots, keys, made, ranks)
        middle = 1 + sizes[tokens[1]]
        if middle > size or middle + sizes[tokens[middle]] != 1 + size:
            return np.int64(token)
        pairs[token, 0] = tokens[1]
        pairs[token, 1] = tokens[middle]
        _enter(entries, token, pairs, slots, keys, made)
        entries += 1
    return np.int64(-1)
