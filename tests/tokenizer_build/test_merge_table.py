"""Vocabularies as merges: what encodes must be what tiktoken encodes, and bad vocabularies are refused."""

import random

import pyarrow as pa
import pytest
import tiktoken
from hypothesis import given
from hypothesis import strategies as st

from tokenizer_build.bpe_train import lay_out
from tokenizer_build.merge_table import Merges, byte_merges, encode_words, split_tokens
from tokenizer_build.piece_counts import SCHEMA
from tokenizer_build.vocabulary import find_vocabulary, load_ranks


@pytest.fixture(scope="module")
def packaged() -> Merges:
    _, ranks = load_ranks(find_vocabulary("sluice-32k"), sha256=None)
    return split_tokens(list(ranks))


@pytest.fixture(scope="module")
def oracle(packaged: Merges) -> tiktoken.Encoding:
    ranks = {token: rank for rank, token in enumerate(packaged.tokens)}
    return tiktoken.Encoding("oracle", pat_str="(?s).+", mergeable_ranks=ranks, special_tokens={})


def encoded(pieces: list[bytes], merges: Merges) -> list[list[int]]:
    """Ids of distinct pieces, read back from the places of their words."""
    words = lay_out(pa.table([pieces, list(range(len(pieces), 0, -1))], schema=SCHEMA), merges.byte_ids())
    encode_words(words, merges)
    found, at = [], 1
    for piece in pieces:
        ids, end = [], at + len(piece)
        while at < end:
            ids.append(int(words.tokens[at]))
            at += len(merges.tokens[ids[-1]])
            assert words.tokens[at - 1] == ids[-1]
        assert at == end and words.tokens[at] == -1
        found.append(ids)
        at += 1
    return found


def test_every_token_encodes_to_itself(packaged: Merges) -> None:
    assert encoded(packaged.tokens, packaged) == [[token_id] for token_id in range(len(packaged.tokens))]


@given(st.lists(st.text(min_size=1, max_size=60) | st.text("ab的一 \n", min_size=1), unique=True, max_size=8))
def test_words_are_encoded_as_tiktoken_does(
    packaged: Merges, oracle: tiktoken.Encoding, words: list[str]
) -> None:
    pieces = [word.encode() for word in words]
    assert encoded(pieces, packaged) == [oracle._core_bpe.encode_single_piece(piece) for piece in pieces]


def test_bytes_of_tokens_too(packaged: Merges, oracle: tiktoken.Encoding) -> None:
    draw = random.Random(1)
    pieces = list({b"".join(draw.choices(packaged.tokens, k=4)) for _ in range(2000)})
    assert encoded(pieces, packaged) == [oracle._core_bpe.encode_single_piece(piece) for piece in pieces]


def test_bad_vocabularies_are_refused() -> None:
    single = byte_merges().tokens
    assert split_tokens([*single, b"ab", b"abab"]).pairs[256:].tolist() == [[97, 98], [256, 256]]
    with pytest.raises(ValueError, match="token 257 b'abcd' is not made of two tokens"):
        split_tokens([*single, b"ab", b"abcd"])
    with pytest.raises(ValueError, match="occurs twice"):
        split_tokens([*single, b"ab", b"ab"])
    with pytest.raises(ValueError, match="lacks the byte 0x00"):
        split_tokens([*single[1:], b"ab"])
