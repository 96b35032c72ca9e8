"""Many phrases in a text at once: 3 to 8 ns per byte. What is found is said in phrase_table.py."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.kernels.buffers import text_buffers
from pipeline.kernels.jit import kernel
from pipeline.kernels.phrase_table import BREAK, SKIPPED, PhraseTable
from pipeline.kernels.words import decode


def count_phrases(text: pa.Array, table: PhraseTable, *, kinds: int) -> NDArray[np.uint32]:
    """uint32 [rows, 3 + kinds] of a string or large_string array: phrases found, their characters, different
    phrases, and how many of the phrases have each of the bits 0 to kinds - 1.
    """
    buffers = text_buffers(text)
    counts = np.zeros((len(text), 3 + kinds), np.uint32)
    seen = np.full(len(table.sizes), -1, np.int64)
    held = np.empty((int(table.sizes.max()) + 2, 3), np.int64)
    _count(buffers.offsets, buffers.bytes, table, seen, held, counts)
    return counts


@kernel
def _step(state, symbol, table):
    """The next state."""
    while True:
        row = table.dense[state]
        target = np.int64(-1)
        if row >= 0:
            target = np.int64(table.rows[row, symbol])
        else:
            for edge in range(table.edges[state], table.edges[state + 1]):
                if table.edge_symbols[edge] == symbol:
                    target = np.int64(table.edge_targets[edge])
                    break
        if target >= 0:
            return target
        state = np.int64(table.fails[state])


@kernel
def _count(offsets, text, table, seen, held, counts):
    """`held`: finds (phrase, first symbol, last symbol) that one which starts earlier may still replace."""
    for document in range(offsets.size - 1):
        at, stop = offsets[document], offsets[document + 1]
        found = counts[document]
        place, holds = np.int64(0), np.int64(0)  # symbols read, finds held
        state, before, ended = _step(np.int64(0), BREAK, table), np.int64(BREAK), False
        while not ended:
            ended = at >= stop
            symbol = np.int64(BREAK)
            if not ended:
                code_point = np.int64(text[at])
                if code_point < 0x80:
                    at += 1
                else:
                    code_point, at = decode(text, at, stop)
                symbol = np.int64(table.symbols[code_point])
            if symbol == SKIPPED or (symbol == BREAK and before == BREAK):
                continue
            turns = symbol != BREAK and before != BREAK and table.alone[symbol] != table.alone[before]
            for _ in range(1 + turns):
                before = np.int64(BREAK) if turns and before != BREAK else symbol
                state = _step(state, before, table)
                place += 1
                if table.ends[state] >= 0:
                    holds = _hold(
                        np.int64(table.ends[state]), place, table, held, holds, seen, document, found
                    )
        for hold in range(holds):
            _add(held[hold, 0], table, seen, document, found)


@kernel
def _hold(phrase, place, table, held, holds, seen, document, found):
    """Holds the longest phrase that ends at `place` and overlaps none that starts before it; those that start
    with it or behind it give way. Returns how many are held.
    """
    settled = np.int64(0)
    while settled < holds and held[settled, 2] <= place - held.shape[0]:
        _add(held[settled, 0], table, seen, document, found)
        settled += 1
    if settled:
        for hold in range(settled, holds):
            for part in range(3):
                held[hold - settled, part] = held[hold, part]
        holds -= settled
    while phrase >= 0:
        first, last = place - table.sizes[phrase] + 1, place - table.trails[phrase]
        keeps = holds
        while keeps > 0 and held[keeps - 1, 1] >= first:
            keeps -= 1
        if keeps == 0 or held[keeps - 1, 2] < first:
            held[keeps, 0], held[keeps, 1], held[keeps, 2] = phrase, first, last
            return keeps + 1
        phrase = np.int64(table.shorter[phrase])
    return holds


@kernel
def _add(phrase, table, seen, document, found):
    found[0] += 1
    found[1] += table.characters[phrase]
    if seen[phrase] != document:
        seen[phrase] = document
        found[2] += 1
    for kind in range(found.size - 3):
        found[3 + kind] += table.kinds[phrase] >> kind & 1
