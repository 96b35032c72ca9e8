r"""Where the next piece of text ends: the patterns of Qwen and cl100k_base as one hand-written scanner.

A pattern cuts text into pieces, and no token crosses a piece. In the order of its alternatives:

1. a contraction: `'s 't 'm 'd 'll 've 're`, also in capitals, also `'` + ſ (U+017F folds to s);
2. letters, with one leading character that is no letter, number or line end (space, tab, `，`, a mark);
3. a number: one digit (Qwen), or up to three (cl100k_base);
4. other signs, with one leading U+0020 and the line ends that follow;
5. white space up to and including its last line end;
6. white space less its last character, which is left to lead the next piece; all of it at the end of text.

tiktoken's present form of the cl100k_base pattern has white space that ends a text in one piece (`one_tail`).
What follows a piece is cut as if the text started there, so one function of the position says it all.

Any bytes are safe: a lookup stays inside the text and the table, and every byte belongs to one piece. What
pieces of broken UTF-8 are is not defined; callers check text first.
"""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.kernels.buffers import text_buffers
from pipeline.kernels.jit import count_zeros, inlined, kernel, load_eight
from tokenizer_build.unicode_classes import LETTER, LINE_END, NUMBER, OTHER, SPACE, load_tables
from tokenizer_build.vocabulary import PieceRule

TOPS = np.uint64(0x8080808080808080)
_CASE = np.uint64(0x2020202020202020)
_SEVENS = np.uint64(0x7F7F7F7F7F7F7F7F)
_FROM_A = np.uint64(0x1F1F1F1F1F1F1F1F)  # 0x80 - "a"
_PAST_Z = np.uint64(0x0505050505050505)  # 0x80 - "z" - 1
_APOSTROPHE, _SPACE, _LF, _CR = 0x27, 0x20, 0x0A, 0x0D


def split_pieces(text: pa.Array, rule: PieceRule) -> NDArray[np.int64]:
    """Ends of the pieces of all documents, as offsets into the array's own bytes, in order: int64 [pieces].

    For tests and figures; kernels call `next_piece` themselves.
    """
    buffers = text_buffers(text)
    ends = np.empty(buffers.offsets[-1] - buffers.offsets[0], np.int64)
    tables = load_tables()
    return ends[: _split(buffers.offsets, buffers.bytes, *tables, rule.digits, rule.one_tail, ends)]


@kernel
def _split(offsets, text, blocks, classes, digits, one_tail, ends):
    pieces = 0
    for document in range(offsets.size - 1):
        at, end = offsets[document], offsets[document + 1]
        while at < end:
            at = next_piece(text, at, end, blocks, classes, digits, one_tail)
            ends[pieces] = at
            pieces += 1
    return pieces


@inlined
def ascii_letters(word):
    """The top bit of every byte of a uint64 that is an ASCII letter."""
    folded = (word | _CASE) & _SEVENS
    return (folded + _FROM_A) & ~(folded + _PAST_Z) & ~word & TOPS


@inlined
def class_of(text, at, end, blocks, classes):
    """Class of the character at `at`, and where it ends; one that `end` cuts short is OTHER."""
    byte = np.int64(text[at])
    if byte < 0x80:
        return np.int64(classes[byte]), at + 1
    width = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
    if at + width > end:
        return OTHER, end
    code = byte & 0x1F
    if width == 2:
        code = code << 6 | (text[at + 1] & 0x3F)
    elif width == 3:
        code = (byte & 0x0F) << 12 | (np.int64(text[at + 1]) & 0x3F) << 6 | (text[at + 2] & 0x3F)
    else:
        code = (byte & 0x07) << 18 | (np.int64(text[at + 1]) & 0x3F) << 12
        code |= (np.int64(text[at + 2]) & 0x3F) << 6 | (text[at + 3] & 0x3F)
    return np.int64(classes[np.int64(blocks[code >> 8]) << 8 | code & 0xFF]), at + width


@inlined
def letters_end(text, at, end, blocks, classes):
    """End of the letters that start at `at`; `at` itself if there are none."""
    while at < end:
        if text[at] < 0x80:
            if at + 8 <= end:
                eight = load_eight(text, at)  # pyright: ignore[reportCallIssue]
                others = ~ascii_letters(eight) & TOPS
                run = count_zeros(others) >> 3
                at += run
                if run < 8 and text[at] < 0x80:
                    return at
                continue
            if classes[text[at]] != LETTER:
                return at
            at += 1
        elif 0xE5 <= text[at] <= 0xE9 and at + 3 <= end:
            at += 3  # U+5000 to U+9FFF, ideographs all
        else:
            class_, after = class_of(text, at, end, blocks, classes)
            if class_ != LETTER:
                return at
            at = after
    return at


@inlined
def _signs_end(text, at, end, blocks, classes):
    """End of the signs (OTHER) that start at `at`, and of the line ends behind them."""
    while at < end:
        class_, after = class_of(text, at, end, blocks, classes)
        if class_ != OTHER:
            break
        at = after
    while at < end and (text[at] == _LF or text[at] == _CR):
        at += 1
    return at


@inlined
def _contraction_end(text, at, end):
    """End of a contraction whose apostrophe lies before `at`; `at` if there is none."""
    if at >= end:
        return at
    first = text[at] | 0x20
    if text[at] == 0xC5 and at + 1 < end and text[at + 1] == 0xBF:
        return at + 2
    if text[at] < 0x41 or text[at] >= 0x80:
        return at
    if first == ord("s") or first == ord("t") or first == ord("m") or first == ord("d"):
        return at + 1
    if at + 1 < end and 0x41 <= text[at + 1] < 0x80:
        second = text[at + 1] | 0x20
        if second == ord("e") and (first == ord("r") or first == ord("v")):
            return at + 2
        if first == ord("l") and second == ord("l"):
            return at + 2
    return at


@inlined
def next_piece(text, at, end, blocks, classes, digits, one_tail):
    """End of the piece that starts at `at` < `end`; `end` is where the document ends."""
    class_, after = class_of(text, at, end, blocks, classes)
    if class_ == LETTER:
        return letters_end(text, after, end, blocks, classes)
    if class_ == NUMBER:
        for _ in range(digits - 1):
            if after >= end:
                break
            class_, next_ = class_of(text, after, end, blocks, classes)
            if class_ != NUMBER:
                break
            after = next_
        return after
    if class_ != LINE_END:
        if text[at] == _APOSTROPHE:
            contracted = _contraction_end(text, after, end)
            if contracted > after:
                return contracted
        lettered = letters_end(text, after, end, blocks, classes)
        if lettered > after:
            return lettered
        if class_ == OTHER:
            return _signs_end(text, after, end, blocks, classes)
        if text[at] == _SPACE and after < end:
            class_, next_ = class_of(text, after, end, blocks, classes)
            if class_ == OTHER:
                return _signs_end(text, next_, end, blocks, classes)
    # White space, line ends among it.
    last, after_line = at, after if (text[at] == _LF or text[at] == _CR) else at
    while after < end:
        class_, next_ = class_of(text, after, end, blocks, classes)
        if class_ < SPACE:
            break
        last, after = after, next_
        if class_ == LINE_END:
            after_line = after
    if after == end and one_tail:
        return end
    if after_line > at:
        return after_line
    if after == end or last == at:
        return after
    return last
