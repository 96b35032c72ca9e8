"""Text as language models read it: CCNet's normalisation, and words between single spaces, a line at a time.

Normalisation (Wenzek et al. 2019; cc_net's text_normalizer.normalize), character by character: lower case,
accents off (NFD without marks of category Mn), decimal digits of any script to 0, the punctuation of other
typographies to that of ASCII (table `PUNCTUATION`), control characters out. Three things differ. Every white
space separates words, while cc_net takes tabs and newlines out with the other controls and glues words
together. Invisible format characters (category Cf) go, so that a zero-width space makes no other word. A
sigma at the end of a word stays σ.

The unit is a word: a run of letters, numbers and marks; of scripts without spaces (Han, kana, Thai, Lao,
Khmer, Myanmar, Tibetan) each letter; and each other character. cc_net cuts text into SentencePiece units
instead, which need a second trained model for each language and ten times the time of all the rest; words
need neither, are the same in every language that a page mixes, and the units of a script without spaces are
the characters that its n-grams are made of anyway. So perplexities are per word (per character in Chinese)
and end of line, and cut-offs that are meant for SentencePiece units (CCNet's own) do not fit them.

The table (`lm_text.npz`, Unicode 14.0) is frozen, as that of unicode_classes.py, since models are trained on
what it says: `python -m pipeline.kernels.lm_text` writes it. Cost: 0.02 ms for 5 kB.
"""

import unicodedata
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.kernels.buffers import TextBuffers, read_only, text_buffers
from pipeline.kernels.jit import kernel
from pipeline.kernels.unicode_classes import (
    BLOCK_BITS,
    LAST_CODE_POINT,
    MARK,
    SPACE,
    WORD_ALONE,
    WORD_START,
    classify,
)
from pipeline.kernels.words import decode

TABLE_FILE = Path(__file__).with_name("lm_text.npz")
# cc_net's replacements; １ stands there too, but is a digit before it comes to this.
PUNCTUATION = dict(
    zip("，。、„”“«»」「《》´∶：？！（）；–～’━〈〉【】％►", ',.,"""""""""\'::?!();-~\'-<>[]%-', strict=True)
)
PUNCTUATION |= {"—": " - ", "．": ". ", "…": "..."}

# What becomes of a character: nothing; it separates words, or lines; it runs on in a word; it is a word (or
# several).
DROPPED, SEPARATES, ENDS_LINE, RUNS, ALONE = range(5)
_LONGEST = 16  # bytes that one character becomes
_GROWTH = 4  # bytes out by bytes in, at most: a Hangul syllable of 3 becomes letters of 9
_BLOCK_MASK = (1 << BLOCK_BITS) - 1
_SPACE, _NEWLINE = 0x20, 0x0A


class FormTables(NamedTuple):
    """`blocks[code point >> 7]` names a block of 128 entries; an entry has an action, and the bytes that the
    character becomes (`sizes` of them), or none if it stays as it is.
    """

    blocks: NDArray[np.uint16]
    actions: NDArray[np.uint8]
    sizes: NDArray[np.uint8]
    forms: NDArray[np.uint8]  # [entries, _LONGEST]


def tokenize_text(text: pa.Array) -> TextBuffers:
    """The words of every document, one space between them and a newline behind each line that has any."""
    buffers = text_buffers(text)
    size = int(buffers.offsets[-1] - buffers.offsets[0])
    tokens = np.empty(_GROWTH * size + len(text) + _LONGEST, np.uint8)
    offsets = np.zeros_like(buffers.offsets)
    _tokenize_documents(buffers.offsets, buffers.bytes, load_forms(), tokens, offsets)
    return TextBuffers(read_only(offsets), read_only(tokens[: offsets[-1]]))


@kernel
def _tokenize_documents(offsets, text, forms, tokens, token_offsets):
    out = np.int64(0)
    for document in range(offsets.size - 1):
        at, stop = offsets[document], offsets[document + 1]
        open_line = in_run = False
        while at < stop:
            lead = np.int64(text[at])
            if lead < 0x80:  # ASCII is the first block
                entry, after = lead, at + 1
            else:
                code_point, after = decode(text, at, stop)
                block = np.int64(forms.blocks[code_point >> BLOCK_BITS])
                entry = (block << BLOCK_BITS) + (code_point & _BLOCK_MASK)
            action = forms.actions[entry]
            if action >= RUNS:
                if open_line and not (in_run and action == RUNS):
                    tokens[out] = _SPACE
                    out += 1
                size = np.int64(forms.sizes[entry])
                for position in range(size):
                    tokens[out + position] = forms.forms[entry, position]
                if size == 0:
                    size = after - at
                    for position in range(size):
                        tokens[out + position] = text[at + position]
                out += size
                open_line, in_run = True, action == RUNS
            elif action == SEPARATES:
                in_run = False
            elif action == ENDS_LINE and open_line:
                tokens[out] = _NEWLINE
                out += 1
                open_line = in_run = False
            at = after
        if open_line:
            tokens[out] = _NEWLINE
            out += 1
        token_offsets[document + 1] = out


# --- the table ----------------------------------------------------------------------------------------------


def normalised(character: str) -> str:
    """cc_net's normalisation of one character that is neither white space nor invisible."""
    plain = unicodedata.normalize("NFD", character.lower())
    kept = (c for c in plain if unicodedata.category(c) != "Mn")
    digits = ("0" if unicodedata.category(c) == "Nd" else PUNCTUATION.get(c, c) for c in kept)
    return "".join(c for c in "".join(digits) if unicodedata.category(c) != "Cc")


def form_of(character: str) -> tuple[int, bytes]:
    """(action, bytes that it becomes; none if it stays as it is)."""
    if character == "\n":
        return ENDS_LINE, b""
    if classify(character) & SPACE:
        return SEPARATES, b""
    if unicodedata.category(character) == "Cf" or not (plain := normalised(character)):
        return DROPPED, b""
    if all(_runs(c) for c in plain):
        return RUNS, b"" if plain == character else plain.encode()
    spaced = "".join(c if _runs(c) else f" {c} " for c in plain)
    words = " ".join(spaced.split())
    return ALONE, b"" if words == character else words.encode("utf-8", "surrogatepass")


def _runs(character: str) -> bool:
    classes = classify(character)
    return bool(classes & (WORD_START | MARK)) and not classes & WORD_ALONE


def build_forms() -> FormTables:
    """The table by this Python's Unicode version."""
    size = 1 << BLOCK_BITS
    numbers: dict[tuple[tuple[int, bytes], ...], int] = {}
    blocks = []
    for start in range(0, LAST_CODE_POINT + 1, size):
        block = tuple(form_of(character) for character in map(chr, range(start, start + size)))
        blocks.append(numbers.setdefault(block, len(numbers)))
    entries = [entry for block in numbers for entry in block]
    forms = np.zeros((len(entries), _LONGEST), np.uint8)
    for row, (_, form) in enumerate(entries):
        forms[row, : len(form)] = np.frombuffer(form, np.uint8)
    actions = np.array([action for action, _ in entries], np.uint8)
    sizes = np.array([len(form) for _, form in entries], np.uint8)
    return FormTables(np.array(blocks, np.uint16), actions, sizes, forms)


@cache
def load_forms() -> FormTables:
    """The committed table, read once per process."""
    with np.load(TABLE_FILE, allow_pickle=False) as arrays:
        return FormTables(*(read_only(arrays[name]) for name in FormTables._fields))


if __name__ == "__main__":
    np.savez_compressed(TABLE_FILE, **build_forms()._asdict())
