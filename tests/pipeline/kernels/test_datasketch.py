"""Signatures equal to the datasketch library's, value by value."""

import re

import numpy as np
import pyarrow as pa
import pytest
from datasketch import MinHash
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.kernels.datasketch import datasketch_signatures
from pipeline.kernels.shingles import Shingling

LONG = "x" * 70 + " " + "y" * 200 + " short words behind two long ones"
TEXTS = ["The quick brown fox jumps over the lazy dog, isn’t it?", LONG, "Ünïcode 𝒳 Straße ΑΣΑ", "one two"]


def expected(shingles: list[str], permutations: int, seed: int) -> list[int] | None:
    if not shingles:
        return None
    sketch = MinHash(num_perm=permutations, seed=seed)
    sketch.update_batch([shingle.encode() for shingle in shingles])
    return np.asarray(sketch.hashvalues).tolist()


@pytest.mark.parametrize(("width", "permutations", "seed"), [(1, 16, 1), (3, 128, 7), (5, 9, 42)])
def test_words(width: int, permutations: int, seed: int) -> None:
    found = datasketch_signatures(
        pa.array(TEXTS), Shingling("words", width, 10**6), permutations=permutations, seed=seed
    )
    for text, signature in zip(TEXTS, found.signatures.to_pylist(), strict=True):
        words = re.findall(r"\w+(?:'\w+)*", text.replace("’", "'").lower())
        shingles = [" ".join(words[at : at + width]) for at in range(len(words) - width + 1)]
        assert signature == expected(shingles, permutations, seed)


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet="aB \n\tÄ中文😀'x", max_size=300), st.integers(1, 30))
def test_characters(text: str, width: int) -> None:
    folded = " ".join(text.lower().split())
    shingles = [folded[at : at + width] for at in range(len(folded) - width + 1)]
    found = datasketch_signatures(
        pa.array([None, text, "gone"]).slice(0, 2),
        Shingling("characters", width, 10**6),
        permutations=24,
        seed=3,
    )
    assert found.signatures.to_pylist() == [None, expected(shingles, 24, 3)]


def test_token_ids_are_refused() -> None:
    tokens = pa.array([[1, 2]], pa.list_(pa.int32()))
    with pytest.raises(ValueError, match="not of token ids"):
        datasketch_signatures(tokens, Shingling("tokens", 1, 10), permutations=4, seed=1)
