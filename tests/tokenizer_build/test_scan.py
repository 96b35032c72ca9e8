"""Pieces against tiktoken's pattern engine, and the frozen character classes against its Unicode."""

import random

import numpy as np
import pyarrow as pa
import pytest
import tiktoken

from tokenizer_build.scan import split_pieces
from tokenizer_build.unicode_classes import build_tables, load_tables
from tokenizer_build.vocabulary import CL100K_PATTERN, CL100K_PATTERN_2023, PATTERNS, QWEN_PATTERN

# Characters on which the pattern turns: apostrophes and what folds to s and k, every kind of space and what
# only looks like one, numbers and letters of many scripts and planes, marks, joiners, signs.
NASTY = (
    list("aZsStTmMdDlLvVrReExé'’\u017f\u212a\"#%=-，。、…/.") * 2
    + list(" \t\x0b\x0c\r\n\x85\xa0\u1680\u2003\u2028\u2029\u202f\u205f\u3000\x1c\x1f\u200b\ufeff") * 2
    + list("0129٣५½Ⅷ²〇𝟙中文字々カなー한국กิ่่ที่ابغшЖ\u0301\u05d0ʰǅ\U00020000\U00031350")
    + ["😀", "👨\u200d👩", "\x00", "\ufffd", "\U0010ffff", "\ud7ff", "\ue000", "<|endoftext|>", "  ", "\n\n"]
)


def random_texts(count: int, seed: int, longest: int = 12) -> list[str]:
    rng = random.Random(seed)
    return ["".join(rng.choices(NASTY, k=rng.randint(1, longest))) for _ in range(count)]


def pieces(texts: list[str], pattern: str) -> list[list[bytes]]:
    """Our pieces, cut in one array."""
    array = pa.array(texts, pa.large_string())
    content, ends = "".join(texts).encode(), split_pieces(array, PATTERNS[pattern]).tolist()
    cut = [content[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    assert b"".join(cut) == content
    found, at = [], 0
    for text in texts:
        length, own = len(text.encode()), []
        while length > 0:
            own.append(cut[at])
            length -= len(cut[at])
            at += 1
        assert length == 0
        found.append(own)
    return found


def oracle_pieces(text: str, pattern: str) -> list[bytes]:
    """tiktoken's pieces, made visible by a vocabulary in which every substring of the text is a token."""
    content = text.encode()
    ranks = {bytes([byte]): byte for byte in range(256)}
    for start in range(len(content)):
        for end in range(start + 2, len(content) + 1):
            ranks.setdefault(content[start:end], len(ranks))
    every = tiktoken.Encoding("every", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    return [every.decode_single_token_bytes(token) for token in every.encode_ordinary(text)]


@pytest.mark.parametrize("pattern", PATTERNS, ids=["qwen", "cl100k-2023", "cl100k"])
def test_pieces_are_those_of_the_pattern(pattern: str) -> None:
    texts = random_texts(250, seed=5)
    for text, found in zip(texts, pieces(texts, pattern), strict=True):
        assert found == oracle_pieces(text, pattern), repr(text)


@pytest.mark.parametrize(
    ("text", "qwen"),
    [
        ("Hello, world's  end", ["Hello", ",", " world", "'s", " ", " end"]),
        ("'sxx 'LLama ’s", ["'s", "xx", " '", "LLama", " ’", "s"]),
        ("然后，然后。\u3000然", ["然后", "，然后", "。", "\u3000然"]),
        ("1234 ५५", ["1", "2", "3", "4", " ", "५", "५"]),
        ("a  \n\n  b\t\tc", ["a", "  \n\n", " ", " b", "\t", "\tc"]),
        (" ==\n\n x", [" ==\n\n", " x"]),
        ("end \n ", ["end", " \n", " "]),
        ("สวัสดี", ["สว", "ัสด", "ี"]),
    ],
)
def test_by_hand(text: str, qwen: list[str]) -> None:
    assert pieces([text], QWEN_PATTERN) == [[piece.encode() for piece in qwen]]


def test_what_the_other_patterns_do_otherwise() -> None:
    assert pieces(["1234"], CL100K_PATTERN) == [[b"123", b"4"]]
    assert pieces(["end \n "], CL100K_PATTERN) == [[b"end", b" \n "]]
    assert pieces(["end \n "], CL100K_PATTERN_2023) == [[b"end", b" \n", b" "]]


def test_broken_text_stays_inside() -> None:
    """Pieces of what is no UTF-8 are not defined, but they are pieces: in order, to the last byte."""
    rng = random.Random(3)
    broken = [bytes(rng.choices(range(256), k=rng.randint(1, 9))) for _ in range(5_000)]
    broken += ["中文é😀".encode()[:cut] for cut in range(1, 12)]
    array = pa.Array.from_buffers(pa.string(), len(broken), pa.array(broken, pa.binary()).buffers())
    for rule in PATTERNS.values():
        ends = split_pieces(array, rule)
        assert np.all(np.diff(ends, prepend=0) > 0)
        assert np.all(np.isin(np.cumsum([len(text) for text in broken]), ends))


def test_the_frozen_classes_are_those_of_tiktoken() -> None:
    for name, frozen, probed in zip(("blocks", "classes"), load_tables(), build_tables(), strict=True):
        np.testing.assert_array_equal(frozen, probed, err_msg=name)
