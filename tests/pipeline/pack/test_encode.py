"""What the pipeline asks of its tokenizer; tests/tokenizer_build proves the ids."""

import json
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.pack.encode import encoding, load_encoder
from tokenizer_build.tokenizer import VERSION, Tokenizer
from tokenizer_build.vocabulary import (
    CL100K_PATTERN,
    QWEN_PATTERN,
    find_vocabulary,
    load_ranks,
    write_ranks,
)


@pytest.fixture(scope="module")
def encoder() -> Tokenizer:
    return load_encoder("sluice-32k", load_ranks(find_vocabulary("sluice-32k"), sha256=None)[0].sha256)


def test_another_file_than_the_planned_one_is_refused() -> None:
    with pytest.raises(ValueError, match="expected 0000"):
        load_encoder("sluice-32k", "0" * 64)


def test_what_a_page_says_is_no_special_token(encoder: Tokenizer) -> None:
    text = "before<|endoftext|>after<|im_start|><|extra_0|>"
    ids = encoder.encode_batch(pa.array([text])).to_pylist()[0]
    assert max(ids) < encoder.vocabulary.eot
    assert encoder.decode(ids) == text


def test_digits_stand_alone(encoder: Tokenizer) -> None:
    assert len(encoder.encode_batch(pa.array(["20231225"])).to_pylist()[0]) == 8


@pytest.mark.parametrize("tail", ["", "word", "\n", "\r\n\u3000 end"])
@pytest.mark.parametrize("blank", [" ", "\u3000", "\t"])
def test_a_million_blanks_are_encoded(encoder: Tokenizer, tail: str, blank: str) -> None:
    """tiktoken gives up above a million: its pattern engine goes back one step for each."""
    text = "start" + blank * 1_200_000 + tail
    ids = encoder.encode_batch(pa.array([text])).values
    assert encoder.decode(ids.to_pylist()) == text


def test_fingerprints_know_the_pattern(tmp_path: Path) -> None:
    assert encoding("sluice-32k") == f"{VERSION} {QWEN_PATTERN}"
    path = tmp_path / "other.tiktoken"
    digest = write_ranks(path, [bytes([byte]) for byte in range(256)])
    path.with_suffix(".card.json").write_text(json.dumps({"sha256": digest, "pattern": CL100K_PATTERN}))
    assert encoding(str(path)) == f"{VERSION} {CL100K_PATTERN}"
