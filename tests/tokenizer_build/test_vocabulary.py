import base64
import hashlib
import json
from pathlib import Path

import pytest

from tokenizer_build import vocabulary
from tokenizer_build.vocabulary import (
    CL100K_PATTERN,
    CL100K_PATTERN_2023,
    QWEN_PATTERN,
    find_vocabulary,
    load_ranks,
    pattern_of,
    special_tokens,
    write_ranks,
)

BYTES = [bytes([byte]) for byte in range(256)]


def write_vocabulary(path: Path, tokens: list[bytes]) -> Path:
    """Any tokens, also those that `write_ranks` refuses."""
    path.write_bytes(
        b"".join(b"%s %d\n" % (base64.b64encode(token), rank) for rank, token in enumerate(tokens))
    )
    return path


def test_the_packaged_vocabulary_is_the_one_of_its_card():
    path = find_vocabulary("sluice-32k")
    card = json.loads(path.with_suffix(".card.json").read_text("utf-8"))
    found, ranks = load_ranks(path, sha256=card["sha256"])
    assert found.name == card["name"] == "sluice-32k"
    assert len(ranks) == card["n_ranks"] == 32_768
    assert (found.n_vocab, found.eot) == (32_976, 32_768)
    assert list(ranks)[:256] == BYTES
    assert not any(token[:1].isdigit() and len(token) > 1 for token in ranks)  # numbers are split into digits
    assert sum(source["bytes"] * source["times"] for source in card["sources"]) == card["bytes"]


def test_special_tokens_follow_the_ranks(tmp_path):
    path = write_vocabulary(tmp_path / "tiny.tiktoken", [*BYTES, b"ab"])
    found, ranks = load_ranks(path, sha256=None)
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (found.name, found.file, found.eot, found.n_vocab) == ("tiny", "tiny.tiktoken", 257, 257 + 208)
    assert ranks[b"ab"] == 256


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "lacks 256"),
        (b"IQ== 0\nIg==\n", "line 2: .*expected 'BASE64 RANK'"),
        (b"IQ== 0\nIg== 2\n", "line 2: rank 2 where 1 is due"),
        (b"IQ== 0\nIg== one\n", "line 2: .*'one'"),
        (b"IQ== 0\nI!== 1\n", "line 2"),
        (b"IQ== 0\nIQ== 1\n", "line 2: token b'!' is repeated"),
        (b" 0\n", "line 1: token b'' is empty"),
        (b"\xff\xfe 0\n", "line 1"),
    ],
)
def test_broken_files_are_refused_by_line(tmp_path, content, why):
    path = tmp_path / "broken.tiktoken"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=why):
        load_ranks(path, sha256=None)


def test_a_missing_byte_is_named(tmp_path):
    path = write_vocabulary(tmp_path / "short.tiktoken", BYTES[:200] + BYTES[201:])
    with pytest.raises(ValueError, match="lacks 1 of the 256 single bytes, the first is 0xc8"):
        load_ranks(path, sha256=None)


def test_another_hash_is_refused_before_parsing(tmp_path):
    path = tmp_path / "other.tiktoken"
    path.write_bytes(b"not a vocabulary")
    with pytest.raises(ValueError, match="expected " + "0" * 64):
        load_ranks(path, sha256="0" * 64)


def test_a_huge_file_is_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr(vocabulary, "MAX_FILE_BYTES", 10)
    with pytest.raises(ValueError, match="more than 10"):
        load_ranks(write_vocabulary(tmp_path / "huge.tiktoken", BYTES), sha256=None)


def test_unknown_names_are_told_what_exists(tmp_path):
    with pytest.raises(FileNotFoundError, match="sluice-32k, qwen, cl100k_base"):
        find_vocabulary("sluice-23k")
    with pytest.raises(FileNotFoundError, match=r"existing \.tiktoken file"):
        find_vocabulary(str(tmp_path / "absent.tiktoken"))
    path = write_vocabulary(tmp_path / "mine.tiktoken", BYTES)
    assert find_vocabulary(str(path)) == path


def make_package(folder: Path, content: bytes) -> None:
    """An installed package `dashscope` that must not be imported."""
    resources = folder / "dashscope" / "resources"
    resources.mkdir(parents=True)
    (folder / "dashscope" / "__init__.py").write_text("raise RuntimeError('imported')")
    (resources / "qwen.tiktoken").write_bytes(content)


def test_qwen_is_found_without_an_import_and_known_by_its_hash(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match="pip install dashscope"):
        find_vocabulary("qwen")
    monkeypatch.undo()
    make_package(tmp_path, b"other content")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ValueError, match="has sha256"):
        find_vocabulary("qwen")
    package, inside, _ = vocabulary.NAMED["qwen"]
    digest = hashlib.sha256(b"other content").hexdigest()
    monkeypatch.setitem(vocabulary.NAMED, "qwen", (package, inside, digest))
    assert find_vocabulary("qwen") == tmp_path / "dashscope" / "resources" / "qwen.tiktoken"


def test_written_ranks_are_read_back(tmp_path):
    path = tmp_path / "mine.tiktoken"
    tokens = [*BYTES, b"ab", b"\xff\x00"]
    digest = write_ranks(path, tokens)
    found, ranks = load_ranks(path, sha256=digest)
    assert list(ranks) == tokens
    assert (found.sha256, found.eot) == (digest, 258)
    assert path.read_bytes() == write_vocabulary(tmp_path / "other.tiktoken", tokens).read_bytes()


@pytest.mark.parametrize(
    ("tokens", "why"),
    [([*BYTES, b"ab", b"ab"], "1 tokens are repeated"), ([*BYTES, b""], "empty"), (BYTES[1:], "0x00 is no")],
)
def test_ranks_that_cannot_be_read_are_not_written(tmp_path, tokens, why):
    with pytest.raises(ValueError, match=why):
        write_ranks(tmp_path / "mine.tiktoken", tokens)
    assert not list(tmp_path.iterdir())


def test_the_card_says_the_pattern(tmp_path):
    path = tmp_path / "mine.tiktoken"
    digest = write_ranks(path, BYTES)
    assert pattern_of(path) == QWEN_PATTERN  # no card
    card = path.with_suffix(".card.json")
    card.write_text(json.dumps({"sha256": digest, "pattern": CL100K_PATTERN_2023}))
    assert pattern_of(path) == CL100K_PATTERN_2023
    card.write_text(json.dumps({"sha256": digest, "pattern": r"\\w+"}))
    with pytest.raises(ValueError, match="none of the known ones"):
        pattern_of(path)
    card.write_text(json.dumps({"sha256": "0" * 64, "pattern": QWEN_PATTERN}))
    with pytest.raises(ValueError, match="is of a file with sha256 0000"):
        pattern_of(path)


def test_cl100k_has_a_pattern_and_special_tokens_of_its_own(tmp_path):
    path = tmp_path / "cl100k_base.tiktoken"
    write_ranks(path, BYTES)
    assert pattern_of(path) == CL100K_PATTERN
    assert special_tokens(path, 100_256)["<|endofprompt|>"] == 100_276
