"""What the models see of a block by itself: its length, its links, its punctuation."""

import numpy as np

from pipeline.kernels.html_page import (
    BREAKS,
    CHARACTERS,
    CJK,
    COMMAS,
    DIGITS,
    LINKED,
    LINKS,
    SHORT_WORDS,
    START,
    STOP,
    STOPS,
    UPPER,
    WORDS,
)
from pipeline.kernels.html_tables import words_of
from pipeline.kernels.jit import inner

BLOCK_FEATURES = words_of(
    """
    characters words link_share links commas stops upper_share digit_share cjk_share short_word_share
    ends_sentence breaks word_length bars copyright at_signs colons
    """
)


@inner
def share(part, whole):
    return np.float32(part) / np.float32(max(whole, 1))


@inner
def ends_sentence(text, start, stop):
    """Does a block end as a sentence does: . ! ? : and their full-width forms, perhaps before a quote?"""
    last = text[stop - 1]
    if (last == 34 or last == 41) and stop - 1 > start:
        last = text[stop - 2]
    if last == 46 or last == 33 or last == 63 or last == 58:
        return True
    if stop - 3 < start:
        return False
    first, second, last = text[stop - 3], text[stop - 2], text[stop - 1]
    if first == 0xE3 and second == 0x80 and last == 0x82:
        return True
    if first == 0xEF and second == 0xBC and (last == 0x81 or last == 0x9F or last == 0x9A):
        return True
    return first == 0xE2 and second == 0x80 and (last == 0x9D or last == 0x9C or last == 0xA6)


@inner
def fill_block(page, block, row):
    counts = page.blocks[block]
    start, stop = page.blocks[block, START], page.blocks[block, STOP]
    characters, words = counts[CHARACTERS], counts[WORDS]
    row[0] = characters
    row[1] = words
    row[2] = share(counts[LINKED], characters)
    row[3] = counts[LINKS]
    row[4] = counts[COMMAS]
    row[5] = counts[STOPS]
    row[6] = share(counts[UPPER], characters)
    row[7] = share(counts[DIGITS], characters)
    row[8] = share(counts[CJK], characters)
    row[9] = share(counts[SHORT_WORDS], words)
    row[10] = ends_sentence(page.text, start, stop)
    row[11] = counts[BREAKS]
    row[12] = share(characters, words)
    bars = signs = ats = colons = 0
    for at in range(start, stop):
        byte = page.text[at]
        bars += byte == 124
        ats += byte == 64
        colons += byte == 58
        signs += byte == 0xA9 and at > start and page.text[at - 1] == 0xC2
    row[13], row[14], row[15], row[16] = bars, signs, ats, colons
