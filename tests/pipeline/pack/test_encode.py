import importlib.util
import json
import random
import re
import unicodedata
from pathlib import Path

import pyarrow as pa
import pytest
import tiktoken

from pipeline.pack import encode
from pipeline.pack.encode import load_encoder
from tokenizer_build.vocabulary import find_vocabulary

CONFORMANCE = Path(__file__).resolve().parents[3] / "../shared/conformance/qwen.json"


@pytest.fixture(scope="module")
def encoder():
    return load_encoder(find_vocabulary("sluice-32k"), sha256=None)


def decode(encoder, ids) -> str:
    return encoder.pieces.decode_bytes(ids).decode()


def test_texts_come_back_and_nulls_stay_null(encoder):
    texts = [
        "Washing gold from gravel.",
        "",
        None,
        "淘金：把金子从沙砾里洗出来。",
        "x = 2023\n\tif y:\r\n",
        "😀 é ที่",
    ]
    for kind in (pa.string(), pa.large_string()):
        encoded = encoder.encode_batch(pa.array(texts, kind))
        assert encoded.type == pa.list_(pa.int32())
        encoded.validate(full=True)
        assert [None if ids is None else decode(encoder, ids) for ids in encoded.to_pylist()] == texts


def test_slices_and_empty_batches(encoder):
    text = pa.array(["one two", "three", None, "four"])
    assert encoder.encode_batch(text[1:]).to_pylist() == encoder.encode_batch(text).to_pylist()[1:]
    assert len(encoder.encode_batch(text[:0])) == 0


def test_special_tokens_in_text_stay_text(encoder):
    text = "before<|endoftext|>after<|im_start|><|extra_0|>"
    ids = encoder.encode_batch(pa.array([text])).to_pylist()[0]
    assert max(ids) < encoder.vocabulary.eot
    assert decode(encoder, ids) == text


def test_digits_stand_alone(encoder):
    ids = encoder.encode_batch(pa.array(["20231225"])).to_pylist()[0]
    assert len(ids) == 8


BLANKS = " \t\u3000\xa0"
AROUND = "\n\r\x1c'sa1,中é\u0301\u2028="


def test_cutting_at_blanks_changes_no_id(encoder, monkeypatch):
    # With a limit of three, random texts are full of "long" runs; tiktoken on the whole text is the oracle.
    pattern = re.compile(encode.LONG_BLANKS.pattern.replace(str(encode.LONG_RUN), "3"))
    monkeypatch.setattr(encode, "LONG_BLANKS", pattern)
    monkeypatch.setattr(encode, "LONG_RUN", 3)
    rng = random.Random(11)
    cut = 0
    for _ in range(20_000):
        text = "".join(
            rng.choice(BLANKS if rng.random() < 0.6 else AROUND) for _ in range(rng.randint(3, 20))
        )
        cut += bool(pattern.search(text))
        assert encoder._encode(text).tolist() == encoder.pieces.encode_ordinary(text), repr(text)
    assert cut > 5000


@pytest.mark.parametrize("tail", ["", "word", "\n", "\r\n\u3000 end"])
def test_a_million_blanks_are_encoded(encoder, tail):
    text = "start" + " " * 1_200_000 + tail
    ids = encoder.encode_batch(pa.array([text])).values
    assert decode(encoder, ids.to_pylist()) == text


def test_the_encoder_gives_up_without_cutting(encoder):
    # The reason for cutting; if this fails, a newer tiktoken has made it unnecessary.
    with pytest.raises(ValueError, match=r"[Ss]tack"):
        encoder.pieces.encode_to_numpy(" " * 1_200_000 + "word")


def test_blanks_are_the_white_space_of_the_encoder(encoder):
    # An encoder without alternatives for the rest keeps what matches `\s` and drops everything else.
    bytes_alone = {bytes([byte]): byte for byte in range(256)}
    probe = tiktoken.Encoding("probe", pat_str=r"\s", mergeable_ranks=bytes_alone, special_tokens={})
    characters = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    white_space = probe.decode(probe.encode_ordinary("".join(characters)))
    blank = re.compile(f"[{encode.BLANK}]")
    assert [c for c in characters if blank.match(c)] == [c for c in white_space if c not in "\r\n"]


@pytest.mark.skipif(
    importlib.util.find_spec("dashscope") is None, reason="needs the qwen.tiktoken of dashscope"
)
@pytest.mark.skipif(not CONFORMANCE.is_file(), reason="needs ../shared/conformance")
def test_qwen_ids_are_the_published_ones():
    qwen = load_encoder(find_vocabulary("qwen"), sha256=None)
    assert (qwen.vocabulary.eot, qwen.vocabulary.n_vocab) == (151_643, 151_851)
    cases = json.loads(CONFORMANCE.read_text("utf-8"))["tokenizer"]["cases"]
    texts = pa.array([unicodedata.normalize("NFC", case["text"]) for case in cases])
    assert qwen.encode_batch(texts).to_pylist() == [case["ids"] for case in cases]
