"""Ids against tiktoken for every kind of vocabulary and text, and what columns are turned into."""

import json
import os
import random
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import tiktoken
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.tokenizer_build.conftest import load_once, load_oracle, needs
from tests.tokenizer_build.test_scan import NASTY, random_texts
from tokenizer_build.tokenizer import Tokenizer
from tokenizer_build.vocabulary import QWEN_PATTERN, find_vocabulary, load_ranks, write_ranks

ROOT = Path(__file__).resolve().parents[2]
CONFORMANCE = ROOT / "../shared/conformance/qwen.json"
EXAMPLES = int(os.environ.get("SLUICE_TOKENIZER_EXAMPLES", "1000"))  # 100,000 before a release
BYTES = [bytes([byte]) for byte in range(256)]

# Surrogates are among `characters()`.
parts = st.sampled_from(
    [*NASTY, *"的一是不了人在有我他这中大来上国个到说们，。", "words", "of the", "ing", " кни", "га"]
)
texts = st.one_of(st.lists(parts, max_size=30).map("".join), st.text(st.characters(), max_size=30))


@settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
@example("\ud83d\ude00 \ud800x \udc00\ud800")
@example("'ſ 'LL 'K")
@given(texts)
def test_any_text_has_the_ids_of_tiktoken(text: str) -> None:
    for name in ("sluice-32k", "qwen"):
        if name == "sluice-32k" or not skipped(name):
            tokenizer = load_once(name)
            oracle = load_oracle(name, tokenizer.pattern)
            assert tokenizer.encode(text) == oracle.encode_ordinary(text)


def skipped(name: str) -> bool:
    try:
        needs(name)
    except pytest.skip.Exception:
        return True
    return False


def test_random_text_has_the_ids_of_tiktoken(both: tuple[Tokenizer, tiktoken.Encoding]) -> None:
    tokenizer, oracle = both
    some = random_texts(3_000, seed=7, longest=40)
    fragments = [oracle.decode_single_token_bytes(token) for token in range(0, oracle.n_vocab - 1, 37)]
    rng = random.Random(1)
    for _ in range(2_000):
        some.append(b"".join(rng.choices(fragments, k=6)).decode(errors="ignore"))
    expected = [oracle.encode_ordinary(text) for text in some]
    assert tokenizer.encode_batch(pa.array(some)).to_pylist() == expected
    assert [tokenizer.encode(text) for text in some[:300]] == expected[:300]


LONG = {
    "a": "a" * 20_000,
    "aab": "aab" * 7_000,
    "=": "=" * 20_000,
    "space": " " * 20_000 + "x",
    "tabs": "\t \n" * 7_000,
    "zh": "的一是了我不人在他有这个上们来到时大地为子中你说生国年着就那和要她出也得里后自以会" * 400,
    "a-z": "".join(random.Random(2).choices("abcdefghijklmnopqrstuvwxyz", k=20_000)),
    "cjk": "".join(chr(random.Random(3).randrange(0x4E00, 0xA000)) for _ in range(7_000)),
    "random cjk": "".join(map(chr, np.random.default_rng(3).integers(0x4E00, 0xA000, 7_000))),
    "thai": "ที่เป็นการ" * 2_000,
    "nul": "\x00" * 10_000,
}


@pytest.mark.parametrize("kind", LONG)
def test_long_pieces(kind: str, both: tuple[Tokenizer, tiktoken.Encoding]) -> None:
    tokenizer, oracle = both
    assert tokenizer.encode(LONG[kind]) == oracle.encode_ordinary(LONG[kind])


@pytest.mark.skipif(not CONFORMANCE.is_file(), reason="needs ../shared/conformance")
def test_qwen_ids_are_the_published_ones() -> None:
    needs("qwen")
    qwen = Tokenizer.load("qwen", nfc=True)
    golden = json.loads(CONFORMANCE.read_text("utf-8"))["tokenizer"]
    assert (qwen.vocabulary.eot, qwen.vocabulary.n_vocab) == (151_643, 151_851)
    for special, token in golden["special"].items():
        if special.startswith("<|"):
            assert qwen.specials[special] == token
    cases = golden["cases"]
    expected = [case["ids"] for case in cases]
    assert [qwen.encode(case["text"]) for case in cases] == expected
    assert qwen.encode_batch(pa.array([case["text"] for case in cases])).to_pylist() == expected
    for case in cases:
        if "ids_allowed_special_all" in case:
            assert qwen.encode(case["text"], allowed_special="all") == case["ids_allowed_special_all"]


def test_special_tokens_only_when_asked_for(sluice: Tokenizer) -> None:
    text = "before<|endoftext|>after<|im_start|><|extra_10|>"
    plain = sluice.encode(text)
    assert max(plain) < sluice.vocabulary.eot
    assert sluice.encode_batch(pa.array([text])).to_pylist() == [plain]
    assert sluice.decode(plain) == text
    end = sluice.specials["<|endoftext|>"]
    some = sluice.encode(text, allowed_special=["<|endoftext|>"])
    assert [token for token in some if token >= sluice.vocabulary.eot] == [end]
    every = sluice.encode(text, allowed_special="all")
    assert every[-1] == sluice.specials["<|extra_10|>"] == sluice.vocabulary.eot + 13
    assert sluice.decode(some) == sluice.decode(every) == text
    with pytest.raises(ValueError, match=r"no special tokens of sluice-32k: <\|nope\|>"):
        sluice.encode(text, allowed_special=["<|nope|>"])


TEXTS = [
    "Washing gold from gravel.",
    "",
    None,
    "淘金：把金子从沙砾里洗出来。",
    "x = 2023\n\tif y:\r\n",
    "😀 é ที่",
]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_columns(sluice: Tokenizer, kind: pa.DataType) -> None:
    text = pa.array(TEXTS, kind)
    encoded = sluice.encode_batch(text)
    encoded.validate(full=True)
    assert encoded.type == pa.list_(pa.int32())
    assert encoded.to_pylist() == [None if value is None else sluice.encode(value) for value in TEXTS]
    assert sluice.decode_batch(encoded).to_pylist() == TEXTS
    counts = sluice.count_batch(text)
    assert counts.to_pylist() == [None if ids is None else len(ids) for ids in encoded.to_pylist()]
    for start in range(len(TEXTS) + 1):
        part = text[start:]
        assert sluice.encode_batch(part).to_pylist() == encoded.to_pylist()[start:]
        assert sluice.count_batch(part).to_pylist() == counts.to_pylist()[start:]
        assert sluice.decode_batch(encoded[start:]).to_pylist() == TEXTS[start:]


def test_text_behind_a_null_is_not_encoded(sluice: Tokenizer) -> None:
    hidden = pa.array(["seen", "hidden", "seen"])
    mask = pa.array([True, False, True]).buffers()[1]
    text = pa.Array.from_buffers(pa.string(), 3, [mask, *hidden.buffers()[1:]])
    assert sluice.encode_batch(text).to_pylist() == [sluice.encode("seen"), None, sluice.encode("seen")]


def test_threads_and_chunks_change_nothing(sluice: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    text = pa.array([*random_texts(3_000, seed=9, longest=60), *["", ""], "long " * 3_000, ""])
    alone = sluice.encode_batch(text)
    monkeypatch.setattr("tokenizer_build.tokenizer._MOST_BYTES", 20_000)
    monkeypatch.setattr("tokenizer_build.tokenizer._LEAST_BYTES", 1_000)
    for threads in (2, 5):
        assert sluice.encode_batch(text, threads=threads).equals(alone)
        assert sluice.count_batch(text, threads=threads).equals(sluice.count_batch(text))


def test_a_column_that_is_no_text_is_refused(sluice: Tokenizer) -> None:
    for broken in (b"\xff", b"\xe4\xb8", b"a\x80", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\xc0\xaf"):
        column = pa.Array.from_buffers(pa.string(), 2, pa.array([b"fine", broken], pa.binary()).buffers())
        for encode in (sluice.encode_batch, sluice.count_batch):
            with pytest.raises(ValueError, match="not UTF-8"):
                encode(column)
    with pytest.raises(TypeError, match="string"):
        sluice.encode_batch(pa.array([1]))


def test_decoding_parts_of_characters(sluice: Tokenizer) -> None:
    oracle = load_oracle("sluice-32k", QWEN_PATTERN)
    rng = random.Random(4)
    lists = [rng.choices(range(oracle.n_vocab), k=rng.randint(0, 9)) for _ in range(500)]
    expected = [oracle.decode(ids) for ids in lists]
    assert [sluice.decode(ids) for ids in lists] == expected
    assert sluice.decode_batch(pa.array(lists, pa.list_(pa.int32()))).to_pylist() == expected
    assert sluice.decode_batch(pa.array(lists, pa.large_list(pa.int64()))).to_pylist() == expected
    half = sluice.encode("龘")[:1]
    assert sluice.decode(half) == "\ufffd"
    with pytest.raises(UnicodeDecodeError):
        sluice.decode(half, errors="strict")


@pytest.mark.parametrize("wrong", [-1, 32_976, 1 << 40])
def test_ids_that_no_vocabulary_has(sluice: Tokenizer, wrong: int) -> None:
    with pytest.raises(ValueError, match=f"^{wrong} is no id of sluice-32k"):
        sluice.decode([5, wrong])
    with pytest.raises(ValueError, match=f"^{wrong} is no id"):
        sluice.decode_batch(pa.array([[5], [wrong]], pa.list_(pa.int64())))


def test_ids_between_the_special_tokens_of_cl100k_are_none() -> None:
    needs("cl100k_base")
    cl100k = load_once("cl100k_base")
    assert cl100k.decode([100_257]) == "<|endoftext|>"
    with pytest.raises(ValueError, match="100256 is no id of cl100k_base"):
        cl100k.decode([100_256])


def test_nfc_is_an_option(sluice: Tokenizer) -> None:
    composing = Tokenizer.load("sluice-32k", nfc=True)
    for text in ("e\u0301 ﬁ Å 가 ế", "plain", "", "<|endoftext|>e\u0301"):
        normal = unicodedata.normalize("NFC", text)
        assert composing.encode(text) == sluice.encode(normal)
        assert composing.encode_batch(pa.array([text, None])).to_pylist() == [sluice.encode(normal), None]
    assert sluice.decode(sluice.encode("e\u0301")) == "e\u0301"


def odd_vocabulary(folder: Path) -> Path:
    """Not merge-shaped: tokens that no merge makes, one that only higher ranks make, one made in two ways."""
    tokens = [b"wxyz", b"abcd", b"ab", b"cd", b"bc", b"abc", "中文".encode(), b"aa", b"aaa"]
    path = folder / "odd.tiktoken"
    write_ranks(path, [*BYTES, *tokens])
    return path


def test_vocabularies_of_any_shape(tmp_path: Path) -> None:
    path = odd_vocabulary(tmp_path)
    tokenizer, oracle = Tokenizer.load(path), load_oracle(str(path), QWEN_PATTERN)
    assert len(tokenizer._tables.halves) == 0
    rng = random.Random(6)
    some = ["".join(rng.choices("abcdwxyz中文 =", k=rng.randint(0, 30))) for _ in range(3_000)]
    some += ["wxyz", "awxyz", "a" * 3_001, "abcd" * 2_000]
    expected = [oracle.encode_ordinary(text) for text in some]
    assert tokenizer.encode_batch(pa.array(some)).to_pylist() == expected
    assert tokenizer.encode_batch(pa.array(some), threads=2).to_pylist() == expected


def test_merging_and_covering_agree(sluice: Tokenizer) -> None:
    """The kernel for vocabularies of any shape gives the same ids for one that is merge-shaped."""
    import dataclasses

    from tokenizer_build.tables import build_tables

    _, ranks = load_ranks(find_vocabulary("sluice-32k"), sha256=None)
    tables = build_tables(ranks)
    merging = dataclasses.replace(sluice, _tables=tables._replace(halves=tables.halves[:0]))
    text = pa.array(random_texts(2_000, seed=12, longest=60))
    assert merging.encode_batch(text).equals(sluice.encode_batch(text))


def test_a_vocabulary_of_bytes_alone(tmp_path: Path) -> None:
    path = tmp_path / "bytes.tiktoken"
    write_ranks(path, BYTES)
    tokenizer = Tokenizer.load(path)
    for text in ("", "ab 中文 \r\n 12", "x" * 100):
        assert tokenizer.encode(text) == list(text.encode())


def test_tokens_too_long_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "long.tiktoken"
    write_ranks(path, [*BYTES, b"x" * 1_025])
    with pytest.raises(ValueError, match="1025 bytes; at most"):
        Tokenizer.load(path)


CHECKED = """
import random, sys
import numba, pyarrow as pa
from tests.tokenizer_build.test_scan import random_texts
from tests.tokenizer_build.test_tokenizer import LONG, odd_vocabulary
from tokenizer_build.tokenizer import Tokenizer
from pathlib import Path
some = [*random_texts(400, seed=8, longest=60), *(text[:3_000] for text in LONG.values())]
for name in ("sluice-32k", str(odd_vocabulary(Path(sys.argv[1])))):
    tokenizer = Tokenizer.load(name)
    for column in (pa.array(some), pa.array(some)[3:7], pa.array([], pa.string()), pa.array(["", None, "x"])):
        assert tokenizer.decode_batch(tokenizer.encode_batch(column)).to_pylist() == column.to_pylist()
    assert tokenizer.decode(tokenizer.encode("中")) == "中"
print("checked", numba.config.BOUNDSCHECK)
"""


@pytest.mark.slow
def test_kernels_stay_in_bounds(tmp_path: Path) -> None:
    environment = os.environ | {"NUMBA_BOUNDSCHECK": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", CHECKED, str(tmp_path)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "checked 1"
