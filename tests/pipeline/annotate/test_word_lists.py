"""Word lists in the layout of LDNOOBW."""

import tarfile
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.annotate.word_lists import count_flagged, lists_digest, read_word_lists, table_of
from pipeline.counts import FLAGGED_COUNTS, WORD_CATEGORIES
from pipeline.score_model import packaged_lists

SAFETY = Path(__file__).resolve().parents[3] / "../shared/data/safety.tar.gz"


def counts(text: str, lists: dict[str, list[str]]) -> dict[str, int]:
    return dict(
        zip(FLAGGED_COUNTS, count_flagged(pa.array([text]), table_of(lists))[0].tolist(), strict=True)
    )


def test_a_folder_of_lists(tmp_path: Path) -> None:
    (tmp_path / "en").write_text("bad\n\n# a note\nvery bad\nbad\n")
    (tmp_path / "zh.txt").write_text("\ufeff坏\n", encoding="utf-8")
    for name in ("README.md", "LICENSE", "USERS.md"):
        (tmp_path / name).write_text("bad")
    lists = read_word_lists({"offensive": str(tmp_path)})
    assert lists == {"en": {"offensive": ["bad", "very bad"]}, "zh": {"offensive": ["坏"]}}
    before = lists_digest(lists)
    (tmp_path / "en").write_text("very bad\nbad\n")
    assert lists_digest(read_word_lists({"offensive": str(tmp_path)})) == before
    (tmp_path / "en").write_text("good\n")
    assert lists_digest(read_word_lists({"offensive": str(tmp_path)})) != before


def test_folders_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is no folder"):
        read_word_lists({"bias": str(tmp_path / "none")})
    with pytest.raises(ValueError, match="named like a language"):
        read_word_lists({"bias": str(tmp_path)})
    (tmp_path / "en").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="not UTF-8"):
        read_word_lists({"bias": str(tmp_path)})


def test_counts_by_category() -> None:
    found = counts("Bad bad, worse.", {"bias": ["bad"], "violence": ["worse", "bad"]})
    assert found["flagged_words"] == 3 and found["flagged_characters"] == 3 + 3 + 5
    assert found["distinct_flagged_words"] == 2
    assert [found[f"{category}_words"] for category in WORD_CATEGORIES] == [3, 2, 0, 0]
    assert set(counts("bad", {}).values()) == {0}


def test_packaged_lists_leave_ordinary_text_alone() -> None:
    lists = read_word_lists(packaged_lists())
    assert set(lists) == {"en", "zh"}
    innocent = {
        "en": "Classes in Essex and Scunthorpe; a cocktail, breast cancer, sex education, a shot.",
        "zh": "性能与感性，母亲的奶粉，鸡肉，处女作，人民币，性别平等，卵石，强奸罪的判决，乳腺癌。",
    }
    for language, text in innocent.items():
        assert counts(text, lists[language])["flagged_words"] == 0
    assert counts("Porn videos, XXX", lists["en"])["pornography_words"] == 2
    assert counts("在线观看黄色网站", lists["zh"])["pornography_words"] == 1


def test_ldnoobw_as_it_is(tmp_path: Path) -> None:
    if not SAFETY.is_file():
        pytest.skip("no shared data on this machine")
    with tarfile.open(SAFETY) as archive:
        members = [member for member in archive if "/ldnoobw/" in member.name]
        archive.extractall(tmp_path, members, filter="data")
    folder = next(tmp_path.rglob("ldnoobw"))
    lists = read_word_lists({"offensive": str(folder)})
    assert len(lists) == 28 and len(lists["en"]["offensive"]) == 403
    for language, of in lists.items():
        table = table_of(of)
        assert table is not None
        phrases = pa.array(of["offensive"])
        unfound = [
            p for p, n in zip(phrases.to_pylist(), count_flagged(phrases, table)[:, 0], strict=True) if not n
        ]
        assert len(unfound) <= (language == "zh"), unfound  # "13.", which is any 13
