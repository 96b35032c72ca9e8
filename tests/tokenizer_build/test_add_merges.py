"""The user extension: the golden example of the Qwen repository, and what is left out."""

import json
from pathlib import Path

import pytest

from tokenizer_build.add_merges import add_words, read_words, write_additions
from tokenizer_build.merge_table import byte_merges
from tokenizer_build.vocabulary import find_vocabulary, load_ranks

GOLDEN = Path(__file__).resolve().parents[2] / "../shared/conformance/qwen.json"


@pytest.mark.skipif(not GOLDEN.is_file(), reason="needs the golden cases of shared/conformance")
def test_golden_example(tmp_path: Path) -> None:
    try:
        _, ranks = load_ranks(find_vocabulary("qwen"), sha256=None)
    except FileNotFoundError as error:
        pytest.skip(str(error))
    golden = json.loads(GOLDEN.read_text("utf-8"))["tokenizer"]["add_merges_golden"]
    (tmp_path / "words.txt").write_text(golden["input"], "utf-8")
    words, warnings = read_words(tmp_path / "words.txt")
    additions, more = add_words(list(ranks), words, start_id=golden["start_id"])
    write_additions(tmp_path / "new.tiktoken", additions)
    assert (tmp_path / "new.tiktoken").read_text().splitlines() == golden["output"]
    assert not warnings
    assert more == [
        "'一只' is left out: it is a token already",
        "'夸张的 比喻手法' is left out: the pattern cuts it apart",
    ]


def test_the_most_frequent_pair_comes_first() -> None:
    additions, warnings = add_words(byte_merges().tokens, {"abc": 1, "bcd": 5, "xy": 3})
    assert not warnings
    # bc occurs 6 times, then bcd 5 times, xy 3 times and abc once.
    assert additions == {b"bc": 256, b"bcd": 257, b"xy": 258, b"abc": 259}


def test_ties_go_by_length_then_text() -> None:
    additions, _ = add_words([*byte_merges().tokens, b"bb"], {"bba": 2, "cd": 2, "ab": 2})
    assert list(additions) == [b"ab", b"cd", b"bba"]


def test_words_are_read_as_the_original_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("e\u0301te\t2\n\nxy\tmany\nxy\t4\nalone\n", "utf-8")
    words, warnings = read_words(path)
    assert words == {"éte": 2, "xy": 5, "alone": 1}
    assert warnings == ["'xy' is repeated, its frequencies are added"]


def test_ids_start_behind_the_ranks() -> None:
    assert add_words(byte_merges().tokens, {"ab": 1}, start_id=7)[0] == {b"ab": 256}
    assert add_words(byte_merges().tokens, {"ab": 1}, start_id=900)[0] == {b"ab": 900}
    assert add_words(byte_merges().tokens, {})[0] == {}
