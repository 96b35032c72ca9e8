"""BPE training: from counted words and a vocabulary to the next merges, exactly and in known memory.

Words are laid out as token ids, 4 bytes each; lists of words take 8 bytes for each neighbouring position, and
are as large as they will ever be before the first merge. The table of pairs grows with the pairs that the
words really have. Nothing depends on sizes, floors or the order of words: counts are integers, equal counts
are decided by the smaller pair of ids.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tokenizer_build.pair_index import MADE, PAIRS, SEPARATOR, Pairs, Words, copy_words, index_pairs
from tokenizer_build.pair_merges import BELOW_FLOOR, DONE, Neighbours, merge_pairs

LONGEST_TOKEN = 1 << 20  # bytes; no limit in practice
_MOST_PLACES = (1 << 31) - 1  # a place is an int32
_FIRST_PAIRS = 1 << 17  # room for pairs at first; doubled until they fit
_PLACES_PER_PAIR = 16  # room for pairs later on: 60 MB of text have a pair for every 12 to 20 places
_FIRST_FLOOR = 1 << 20  # the first floor is this part of all occurrences of pairs
_FLOOR_STEP = 8  # every other floor is this part of the one before


def lay_out(counted: pa.Table, byte_ids: NDArray[np.int32]) -> Words:
    """Words of single bytes, by falling count, of a table (piece, count); `byte_ids[b]` is the id of byte b.

    ValueError if the distinct pieces together have more than 2 GiB.
    """
    counts = counted["count"].to_numpy()
    order = np.argsort(-counts, kind="stable")
    pieces = pa.concat_arrays(counted["piece"].chunks or [pa.array([], pa.large_binary())])
    offsets = np.frombuffer(pieces.buffers()[1], np.int64, len(pieces) + 1, pieces.offset * 8)
    content = np.frombuffer(pieces.buffers()[2] or b"", np.uint8)
    lengths = np.diff(offsets)[order]
    behind = 1 + np.cumsum(lengths + 1)  # the place behind every word's separator
    places = int(behind[-1]) if len(behind) else 1
    if places > _MOST_PLACES:
        raise ValueError(
            f"{places} bytes of distinct pieces: training takes 2 GiB at most; raise the least count"
        )
    tokens = np.full(places, SEPARATOR, np.int32)
    copy_words(content, offsets, order, byte_ids, tokens)
    level_counts, first = np.unique(-counts[order], return_index=True)
    ends = np.append(behind[first[1:] - 1] if len(behind) else [], places).astype(np.int64)
    return Words(tokens, ends, -level_counts if len(level_counts) else np.zeros(1, np.int64))


def train_merges(
    words: Words,
    sizes: Sequence[int] | NDArray[np.int32],
    merges: int,
    *,
    longest: int = LONGEST_TOKEN,
    least: int = 1,
) -> NDArray[np.int32]:
    """The next merges, int32 [at most `merges`, 2]: left id, right id; merge i makes token len(sizes) + i.

    `words` hold ids below len(sizes), fully merged by the vocabulary so far, and are changed in place;
    `sizes` are the bytes of every token so far. Stops early when no pair of at most
    `longest` bytes together has a count of `least` or more.
    """
    first = len(sizes)
    all_sizes = np.zeros(first + merges, np.int32)
    all_sizes[:first] = sizes
    made = np.zeros((merges, 2), np.int32)
    state = np.zeros(6, np.int64)
    weight = int(np.diff(words.level_ends, prepend=0) @ words.level_counts)
    floor = max(least, weight // _FIRST_FLOOR)
    pairs, most = _index(words, all_sizes, state, floor, _FIRST_PAIRS)
    around = _neighbours(len(all_sizes), most)
    while True:
        status = merge_pairs(words, pairs, around, all_sizes, made, first, state, floor, longest)
        if status == DONE or (status == BELOW_FLOOR and floor <= least):
            return made[: state[MADE]]
        room = pairs.keys.size
        if status == BELOW_FLOOR:
            floor = max(least, floor // _FLOOR_STEP)
            room = max(room, 1 << (len(words.tokens) // _PLACES_PER_PAIR).bit_length())
        elif state[PAIRS] == room:
            room *= 2
        pairs, _ = _index(words, all_sizes, state, floor, room)


def _index(
    words: Words, sizes: NDArray[np.int32], state: NDArray[np.int64], floor: int, room: int
) -> tuple[Pairs, int]:
    """Tables with room for at least `room` pairs, filled; and the most occurrences that any pair has."""
    while True:
        pairs = Pairs(
            slots=np.empty(2 * room, np.int32),
            keys=np.empty(room, np.uint64),
            counts=np.empty(room, np.int64),
            list_starts=np.empty(room, np.int64),
            list_lengths=np.empty(room, np.int32),
            lists=np.empty(2 * len(words.tokens), np.int32),  # at least half is free after indexing
            heap_counts=np.empty(room, np.int64),
            heap_pairs=np.empty(room, np.int32),
        )
        most = index_pairs(words, pairs, sizes, state, floor)
        if most >= 0:
            return pairs, int(most)
        room *= 2


def _neighbours(tokens: int, most: int) -> Neighbours:
    """Room for a step: a new pair never has more occurrences than the pair that it was made of."""
    return Neighbours(
        left=np.zeros((tokens, 3), np.int64),
        right=np.zeros((tokens, 3), np.int64),
        left_touched=np.empty(tokens, np.int32),
        right_touched=np.empty(tokens, np.int32),
        events=np.empty((2 * most, 2), np.int32),
    )
