"""What C4's rules keep of a page, in the three forms that are in use: lines kept, their sentences, and marks
for which the whole page goes.

The rules of a line, in this order (TFDS, text/c4_utils.py clean_page; datatrove, c4_filters.py): no word of
more than 1,000 characters; citations ("[1]", "[edit]", "[citation needed]") are cut out; it ends with a mark
and not with "..."; it has enough words; "lorem ipsum" ends the page; no "javascript"; "{" ends the page; no
phrase of a policy. The forms differ in three points:

| form | marks | least words | words are counted |
|---|---|---|---|
| tfds | . ? ! " | 5 | after the citations are cut out |
| datatrove | . ? ! " ' | 3 | before |
| fineweb | none asked for | 3 | before |

A sentence ends with one or more of . ? ! followed by white space or the end of the line, closing quotes and
brackets in between, and a line that was kept has at least one. (Peers use NLTK's punkt, which also knows
abbreviations.) Columns: counts.C4_COUNTS.
"""

from functools import cache

import numpy as np
import pyarrow as pa

from pipeline.counts import C4_COUNTS
from pipeline.kernels import unicode_classes as unicode
from pipeline.kernels.buffers import count_batch, text_buffers
from pipeline.kernels.jit import kernel
from pipeline.kernels.lines import find_newline
from pipeline.kernels.phrases import Phrases, meaning_at, phrase_table
from pipeline.kernels.words import read_character

MAX_WORD_CHARACTERS = 1_000
LONG_LINE_CHARACTERS = 200  # mC4 asks for three lines of at least so many
LEAST_WORDS = (5, 3, 3)  # tfds, datatrove, fineweb
_POLICY = (
    "terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies",
)  # fmt: skip
_EDIT = np.frombuffer(b"[edit]", np.uint8)
_NEEDED = np.frombuffer(b"[citation needed]", np.uint8)
_FIRST_WORD = 9  # characters of "[citation"
_TFDS, _FINEWEB = 0, 2
_KEPT, _SENTENCES, _ENDED, _LONG = 0, 3, 6, 9
_LOREM, _JAVASCRIPT, _CURLY, _IS_POLICY = 1, 2, 4, 8


@cache
def _phrases() -> Phrases:
    bits = {"lorem ipsum": _LOREM, "javascript": _JAVASCRIPT, **dict.fromkeys(_POLICY, _IS_POLICY)}
    return phrase_table(bits)


def measure_c4(text: pa.Array) -> pa.RecordBatch:
    """C4_COUNTS (uint32) of string or large_string; null counts as empty text."""
    buffers = text_buffers(text)
    counts = np.zeros((len(text), len(C4_COUNTS)), np.uint32)
    _measure_documents(buffers.offsets, buffers.bytes, unicode.load_tables(), _phrases(), counts)
    return count_batch(counts, C4_COUNTS)


@kernel
def _measure_documents(offsets, text, tables, phrases, counts):
    for document in range(offsets.size - 1):
        at, stop = offsets[document], offsets[document + 1]
        while at < stop:
            end = find_newline(text, at, stop)
            _measure_line(text, at, end, tables, phrases, counts[document])
            at = end + 1


@kernel
def _measure_line(text, start, stop, tables, phrases, found):
    marks = np.int64(0)
    words = cut_words = sentences = longest = length = line = np.int64(0)
    cut_length = np.int64(0)  # characters of the word that no citation holds
    last = before = third = np.int64(0)  # the last characters that are neither cut out nor white space
    trailing = True  # white space since `last`
    ended = False  # a sentence's mark, and then nothing but closing marks
    at = start
    while at <= stop:
        code_point, entry, after = np.int64(0x20), np.int64(0x20), at + 1
        if at < stop:
            code_point, entry, after = read_character(text, at, stop, tables)
            line += 1
        if tables.classes[entry] & unicode.SPACE:
            words += length > 0
            cut_words += cut_length > 0
            longest = max(longest, length)
            length = cut_length = np.int64(0)
            sentences += ended
            ended = False
            trailing = True
            at = after
            continue
        if code_point == 0x5B:  # [
            cut = _citation(text, at, stop)
            if cut > at:
                if cut - at == _NEEDED.size:  # two words to who counts before it is cut out
                    words += 1
                    longest = max(longest, length + _FIRST_WORD)
                    length = np.int64(_NEEDED.size - _FIRST_WORD - 1)
                else:
                    length += cut - at
                line += cut - at - 1
                at = cut
                continue
        length += 1
        cut_length += 1
        if trailing:
            before = third = np.int64(0)
            trailing = False
        else:
            third, before = before, last
        last = code_point
        if code_point in (0x2E, 0x3F, 0x21):
            ended = True
        elif code_point not in (0x22, 0x27, 0x29, 0x5D, 0x201D, 0x2019):
            ended = False
        marks |= _CURLY if code_point == 0x7B else 0
        marks |= meaning_at(text, at, stop, phrases)
        at = after
    found[_LONG] += line >= LONG_LINE_CHARACTERS
    if words == 0 or longest > MAX_WORD_CHARACTERS:
        return
    dots = last == 0x2E and before == 0x2E and third == 0x2E
    for form in range(3):
        is_mark = last in (0x2E, 0x3F, 0x21, 0x22) or (form > _TFDS and last == 0x27) or form == _FINEWEB
        enough = (cut_words if form == _TFDS else words) >= LEAST_WORDS[form]
        if not is_mark or (dots and form != _FINEWEB) or not enough:
            continue
        if marks & _LOREM:
            found[_ENDED + form] += 1
        elif marks & _JAVASCRIPT:
            continue
        elif marks & _CURLY:
            found[_ENDED + form] += 1
        elif not marks & _IS_POLICY:
            found[_KEPT + form] += 1
            found[_SENTENCES + form] += max(sentences, 1)


@kernel
def _citation(text, at, stop):
    """The position after the citation that begins at `at`, or `at` if it is none."""
    end = at + 1
    while end < stop and 0x30 <= text[end] <= 0x39:
        end += 1
    if end < stop and text[end] == 0x5D:
        return end + 1
    for wanted in (_EDIT, _NEEDED):
        place = 0
        while place < wanted.size and at + place < stop and text[at + place] == wanted[place]:
            place += 1
        if place == wanted.size:
            return at + place
    return at
