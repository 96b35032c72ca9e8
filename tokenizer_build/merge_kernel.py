"""Text to token ids for any vocabulary: adjacent tokens are merged, lowest rank first, as tiktoken does it.

The next merge comes from a heap of (rank, place), so a piece of n bytes takes n log n steps. A piece that is
a token as a whole is that token, whether merging would lead to it or not.
"""

from pipeline.kernels.jit import inlined, kernel
from tokenizer_build.pairs import made_of
from tokenizer_build.scan import next_piece
from tokenizer_build.trie import NONE, exact_match

SCRATCH_ROWS = 4  # of int64, per byte of the longest piece; and the heap of three


@inlined
def _push(heap, size, entry):
    at = size
    while at > 0:
        parent = (at - 1) >> 1
        if heap[parent] <= entry:
            break
        heap[at] = heap[parent]
        at = parent
    heap[at] = entry
    return size + 1


@inlined
def _pop(heap, size):
    """Remove heap[0]; returns the new size."""
    entry = heap[size - 1]
    size -= 1
    at = 0
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= entry:
            break
        heap[at] = heap[child]
        at = child
    heap[at] = entry
    return size


@kernel
def _merge(text, start, end, pairs, byte_ids, tokens, ranks, nexts, befores, heap, ids, count):
    """Write the tokens of text[start:end]; returns the new count.

    Per place: its token, the rank of the merge with the token that follows (NONE for none), and where the
    next token and the one before begin. A heap entry is stale when that rank has changed since.
    """
    length = end - start
    size = 0
    for place in range(length):
        tokens[place] = byte_ids[text[start + place]]
        nexts[place], befores[place] = place + 1, place - 1
    for place in range(length - 1):
        ranks[place] = made_of(pairs, tokens[place], tokens[place + 1])
        if ranks[place] != NONE:
            size = _push(heap, size, ranks[place] << 32 | place)
    ranks[length - 1] = NONE
    while size > 0:
        rank, place = heap[0] >> 32, heap[0] & 0xFFFFFFFF
        size = _pop(heap, size)
        if ranks[place] != rank:
            continue
        merged = nexts[place]
        after = nexts[merged]
        tokens[place], nexts[place] = rank, after
        ranks[merged] = NONE
        ranks[place] = NONE
        if after < length:
            befores[after] = place
            ranks[place] = made_of(pairs, rank, tokens[after])
            if ranks[place] != NONE:
                size = _push(heap, size, ranks[place] << 32 | place)
        before = befores[place]
        if before >= 0:
            ranks[before] = made_of(pairs, tokens[before], rank)
            if ranks[before] != NONE:
                size = _push(heap, size, ranks[before] << 32 | before)
    place = 0
    while place < length:
        ids[count] = tokens[place]
        count += 1
        place = nexts[place]
    return count


@kernel
def merge_documents(offsets, text, blocks, classes, digits, one_tail, tables, scratch, heap, ids, ends):
    """As `encode_kernel.encode_documents`; `scratch`: int64 [4, bytes of a document], `heap`: int64 [3 x]."""
    count = 0
    for document in range(offsets.size - 1):
        at, end = offsets[document], offsets[document + 1]
        while at < end:
            after = next_piece(text, at, end, blocks, classes, digits, one_tail)
            whole = exact_match(text, at, after, tables.trie)
            if whole != NONE:
                ids[count] = whole
                count += 1
            else:
                count = _merge(
                    text,
                    at,
                    after,
                    tables.pairs,
                    tables.byte_ids,
                    scratch[0],
                    scratch[1],
                    scratch[2],
                    scratch[3],
                    heap,
                    ids,
                    count,
                )
            at = after
        ends[document] = count
    return count
