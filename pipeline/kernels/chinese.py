"""Counts behind the rules of Chinese corpora: MAP-NEO (filter.py, as it is meant) and ChineseWebText
(preprocess.py). What other rules need stands in text.py. Columns: counts.CHINESE_COUNTS.

Entropy is computed in integers, from logarithms of 2^-32 nats, so that no float decides. Runs of 13
characters are looked for in the first million characters of a text, white space left out.
"""

from decimal import Decimal, localcontext
from functools import cache

import numpy as np
import pyarrow as pa

from pipeline.counts import CHINESE_COUNTS
from pipeline.kernels import unicode_classes as unicode
from pipeline.kernels.buffers import count_batch, read_only, text_buffers
from pipeline.kernels.jit import kernel
from pipeline.kernels.repetition import all_candidates, count_occurrences, next_candidates, ngram_tables
from pipeline.kernels.words import mix_bits, read_character

RUN = 13
_MOST_CHARACTERS = 1_000_000
_LOG_BITS, _LOGS = 32, 1024
_SENTENCES, _BRACKETS, _MORE, _DISTINCT, _ENTROPY, _REPEATED, _RUNS = range(7)
_OPEN, _CLOSE = ord("【"), ord("】")


def measure_chinese(text: pa.Array) -> pa.RecordBatch:
    """CHINESE_COUNTS (uint32) of string or large_string; null counts as empty text."""
    buffers = text_buffers(text)
    counts = np.zeros((len(text), len(CHINESE_COUNTS)), np.uint32)
    longest = min(int(np.diff(buffers.offsets).max(initial=0)), _MOST_CHARACTERS)
    _measure_documents(
        buffers.offsets,
        buffers.bytes,
        unicode.load_tables(),
        _logarithms(),
        np.zeros(unicode.LAST_CODE_POINT + 1, np.int32),
        np.empty(longest + 1, np.uint64),
        ngram_tables(longest),
        np.zeros(8, np.int64),
        counts,
    )
    return count_batch(counts, CHINESE_COUNTS)


@cache
def _logarithms() -> np.ndarray:
    """int64 [1025]: natural logarithms of 1 to 1,023 in 2^-32, that of 2 last; exact decimals, rounded."""
    with localcontext(prec=25):
        numbers = [1, *range(1, _LOGS), 2]
        found = [int((Decimal(number).ln() * (1 << _LOG_BITS)).to_integral_value()) for number in numbers]
    return read_only(np.array(found, np.int64))


@kernel
def _logarithm(number, logs):
    """ln(number) in 2^-32, to 10^-6."""
    shift = np.int64(0)
    while number >> shift >= _LOGS:
        shift += 1
    head = number >> shift
    rest = number - (head << shift)
    return logs[head] + shift * logs[_LOGS] + (rest << _LOG_BITS) // (head << shift)


@kernel
def _measure_documents(offsets, text, tables, logs, times, characters, ngrams, tail, counts):
    for document in range(offsets.size - 1):
        at, stop = offsets[document], offsets[document + 1]
        found = counts[document]
        is_open = was_mark = False
        inside = listed = total = distinct = weighted = np.int64(0)
        tail[:] = 0  # the last characters of the line
        while at < stop:
            code_point, entry, at = read_character(text, at, stop, tables)
            if code_point == 0x0A:
                found[_MORE] += _says_more(tail)
                tail[:] = 0
            if tables.classes[entry] & unicode.SPACE:
                continue
            total += 1
            distinct += times[code_point] == 0
            times[code_point] += 1
            if listed < characters.size - 1:
                characters[listed] = mix_bits(np.uint64(code_point))
                listed += 1
            for place in range(7):
                tail[place] = tail[place + 1]
            tail[7] = code_point
            is_mark = code_point in (0x3002, 0xFF01, 0xFF1F, 0x21, 0x3F, 0x2026, 0xFF0E)
            found[_SENTENCES] += is_mark and not was_mark
            was_mark = is_mark
            if code_point == _OPEN:
                is_open, inside = True, np.int64(0)
            elif code_point == _CLOSE and is_open:
                found[_BRACKETS] += inside
                is_open = False
            else:
                inside += 1
        found[_MORE] += _says_more(tail)
        found[_DISTINCT] = distinct
        at = offsets[document]
        while at < stop:
            code_point, _, at = read_character(text, at, stop, tables)
            often = np.int64(times[code_point])
            weighted += often * _logarithm(often, logs) if often else 0
            times[code_point] = 0
        if total:
            nats = _logarithm(total, logs) - weighted // total
            found[_ENTROPY] = (nats * 1_000 + (1 << (_LOG_BITS - 1))) >> _LOG_BITS
        candidates = all_candidates(characters, listed, ngrams)
        for size in range(2, RUN + 1):
            if candidates == 0 or listed < size:
                break
            count_occurrences(characters, size, candidates, ngrams)
            if size == RUN:
                for place in range(candidates):
                    found[_REPEATED] += ngrams.times[ngrams.leaders[ngrams.candidates[place]]] > 1
            candidates = next_candidates(size, listed, candidates, ngrams)
        found[_RUNS] = max(listed - RUN + 1, 0)


@kernel
def _says_more(tail):
    """Whether a line ends with 展开, 更多, readmore or 。。。"""
    if tail[6] == 0x5C55 and tail[7] == 0x5F00:
        return True
    if tail[6] == 0x66F4 and tail[7] == 0x591A:
        return True
    if tail[5] == 0x3002 and tail[6] == 0x3002 and tail[7] == 0x3002:
        return True
    same = True
    for place in range(8):
        same &= tail[place] | 0x20 == _READMORE[place]
    return same


_READMORE = np.frombuffer(b"readmore", np.uint8)
