"""Comparing vocabularies: the numbers are those of tiktoken; table, picture and card hold them."""

import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pyarrow as pa
import pytest
import tiktoken

from tokenizer_build.cli import main
from tokenizer_build.compare import (
    Compared,
    as_table,
    chinese_bands,
    load_compared,
    measure,
    read_texts,
    total,
)
from tokenizer_build.compare_view import bar_picture
from tokenizer_build.merge_table import byte_merges
from tokenizer_build.vocabulary import QWEN_PATTERN, card_path, find_vocabulary, load_ranks, write_ranks

TEXTS = {
    "zh": ["我们在这里，学习中文。", "程序员的的的"],
    "en": ["the words of the book\n", "It's 2023, isn't it?"],
    "<odd>": ["a\u00e9\U0001f600"],
}


@pytest.fixture(scope="module")
def small() -> Compared:
    return load_compared("sluice-32k")


@pytest.fixture
def of_bytes(tmp_path: Path) -> Path:
    path = tmp_path / "bytes.tiktoken"
    write_ranks(path, byte_merges().tokens)
    return path


def test_counts_are_those_of_tiktoken(small: Compared, of_bytes: Path) -> None:
    _, ranks = load_ranks(find_vocabulary("sluice-32k"), sha256=None)
    oracle = tiktoken.Encoding("o", pat_str=QWEN_PATTERN, mergeable_ranks=ranks, special_tokens={})
    measures = measure([small, load_compared(str(of_bytes))], TEXTS)
    for each in measures:
        size = sum(len(text.encode()) for text in TEXTS[each.text])
        expected = sum(len(oracle.encode_ordinary(text)) for text in TEXTS[each.text])
        assert each.bytes == size
        assert each.tokens == (size if each.vocabulary == "bytes" else expected)
    assert [each.words for each in measures[::2]] == [2, 9, 1]
    table = as_table(measures, "bytes")
    assert table["en"]["relative_tokens"] == {
        "sluice-32k": round(measures[2].tokens / measures[2].bytes, 4),
        "bytes": 1.0,
    }
    (both, alone) = total(measures, ["zh", "en"], "all")
    assert alone.tokens == alone.bytes == both.bytes == measures[0].bytes + measures[2].bytes


def test_a_lossy_vocabulary_is_told(small: Compared) -> None:
    broken = Compared("broken", small.tokens, small.count, lambda texts: 1, 0)
    with pytest.raises(AssertionError, match="broken on zh: 1 documents come back changed"):
        measure([broken], TEXTS)
    assert small.differ(pa.array(TEXTS["zh"] + TEXTS["<odd>"])) == 0


def test_bands_of_characters(small: Compared, of_bytes: Path) -> None:
    # 700 distinct characters, the first 500 of them twice as often: two bands.
    frequent = "".join(chr(0x4E00 + i) for i in range(500))
    rare = "".join(chr(0x9000 + i) for i in range(200))
    bands = chinese_bands([load_compared(str(of_bytes)), small], [frequent * 2, rare + "abc"])
    assert [(band["from"], band["to"]) for band in bands] == [(1, 500), (501, 700)]
    assert all(band["single"]["bytes"] == 0 for band in bands)
    known = sum(character.encode() in set(small.tokens) for character in frequent)
    assert bands[0]["single"]["sluice-32k"] == known / 500 > 0


def test_picture_is_sound_xml(small: Compared, of_bytes: Path) -> None:
    measures = measure([small, load_compared(str(of_bytes))], TEXTS)
    picture = ElementTree.fromstring(bar_picture(measures, "bytes"))
    bars = [rect for rect in picture.iter("{http://www.w3.org/2000/svg}rect") if len(rect)]
    assert len(bars) == 6
    heights = {bar[0].text: float(bar.attrib["height"]) for bar in bars}
    assert heights["zh, bytes: 1.000"] == max(heights.values())
    assert any(label is not None and label.startswith("<odd>, sluice-32k") for label in heights)


def test_command(of_bytes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "a.txt").write_text(TEXTS["en"][0])
    (folder / "b.bin").write_bytes(b"\xff\xfe")
    lines = "".join(json.dumps({"text": text}) + "\n" for text in TEXTS["zh"])
    (tmp_path / "zh.jsonl").write_text(lines, "utf-8")
    mine = tmp_path / "mine.tiktoken"
    shutil.copy(of_bytes, mine)
    sha256 = load_ranks(mine, sha256=None)[0].sha256
    card_path(mine).write_text(json.dumps({"name": "mine", "sha256": sha256}))
    arguments = ["compare", str(mine), "sluice-32k", "--baseline", "sluice-32k", "--chinese", "zh"]
    arguments += ["--text", f"zh={tmp_path / 'zh.jsonl'}", "--text", f"en={folder}", "--card", "other_kinds"]
    arguments += ["--figure", str(tmp_path / "bars.svg"), "--json", str(tmp_path / "all.json")]
    assert main(arguments) == 0
    assert "every document came back" in capsys.readouterr().out
    card = json.loads(card_path(mine).read_text())
    assert card["name"] == "mine" and card["other_kinds"]["en"]["bytes_per_token"]["mine"] == 1.0
    assert set(card["other_kinds"]) == {"zh", "en", "all"} and len(card["chinese_characters"]) == 1
    assert len(json.loads((tmp_path / "all.json").read_text())) == 6
    assert (tmp_path / "bars.svg").read_text().startswith("<svg")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sluice-23k", "--text", "zh={here}"], "no vocabulary 'sluice-23k'"),
        (["sluice-32k", "--text", "ab"], "expected NAME=PATH"),
        (["sluice-32k", "--text", "zh={here}", "--baseline", "qwen"], "none of the vocabularies"),
        (["sluice-32k", "--text", "zh={here}", "--chinese", "en"], "none of the texts zh"),
        (["sluice-32k", "--text", "zh={bad}"], "line 1: no document with a text"),
    ],
)
def test_wrong_arguments(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.jsonl").write_text('"text"\n')
    (tmp_path / "here.txt").write_text("的")
    filled = [each.format(here=tmp_path / "here.txt", bad=tmp_path / "bad.jsonl") for each in arguments]
    assert main(["compare", *filled]) == 2
    assert message in capsys.readouterr().err


def test_texts_are_put_into_nfc(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("e\u0301", "utf-8")
    assert read_texts(path) == ["é"]
