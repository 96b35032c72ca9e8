"""Folds against plain Python versions, and frozen."""

import hashlib
from unicodedata import normalize

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import FOLDS
from pipeline.kernels import unicode_classes as unicode
from pipeline.kernels.buffers import text_array
from pipeline.kernels.fold import HANS_TABLE, KEPT, fold_text

TABLES = unicode.load_tables()
CLASSES = TABLES.classes.reshape(-1, 128)[TABLES.blocks].reshape(-1).tolist()
LOWER = TABLES.lower.reshape(-1, 128)[TABLES.blocks].reshape(-1).tolist()


SIMPLIFIED = {
    line[0]: line[1]
    for line in HANS_TABLE.read_text(encoding="utf-8").splitlines()
    if not line.startswith("#")
}


def slow_fold(text: str, fold: str = "fold-v1") -> str:
    if fold == "none-v1":
        return text
    if fold != "fold-v1":
        text = normalize("NFKC", text)
    text = "".join(chr(ord(c) + LOWER[ord(c)]) for c in text if CLASSES[ord(c)] & KEPT)
    if fold == "nfkc-digits-v1":
        return "".join("0" if CLASSES[ord(c)] & unicode.DIGIT else c for c in text)
    return "".join(SIMPLIFIED.get(c, c) for c in text) if fold == "nfkc-hans-v1" else text


def folded(text: pa.Array, fold: str = "fold-v1") -> list[str]:
    return text_array(fold_text(text, fold=fold)).to_pylist()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello, World!  3.5 kg", "helloworld35kg"),
        ("ÉCOLE\u00a0№ 5½ — Straße", "école5½straße"),
        ("米酒（ＡＢ）和茶。\n", "米酒ａｂ和茶"),  # no NFKC: full-width letters stay full-width
        ("ÀÈ İI ẞ Σς", "àèiißσς"),
        ("किताब กำลัง مَرْحَبًا", "किताबกำลังمَرْحَبًا"),  # marks are spelling
        ("co\u00adop می\u200cخواهم 👍🏽 ❤\ufe0f 1\ufe0f\u20e3", "coopمیخواهم1\u20e3"),
        ("ȺȾ" * 5, "ⱥⱦ" * 5),
        ("𐐀𠀀!", "𐐨𠀀"),
        ("... —— ！？ 😀", ""),
        ("", ""),
    ],
)
def test_known_folds(text: str, expected: str) -> None:
    assert folded(pa.array([text])) == [expected]


@pytest.mark.parametrize(
    ("text", "nfkc", "digits", "hans"),
    [
        ("米酒（ＡＢ１２）。", "米酒ab12", "米酒ab00", "米酒ab12"),
        ("臺灣後來說國語", "臺灣後來說國語", "臺灣後來說國語", "台湾后来说国语"),
        ("台湾后来说国语", "台湾后来说国语", "台湾后来说国语", "台湾后来说国语"),
        ("㑮 𠁞", "㑮𠁞", "㑮𠁞", "𫝈𠀾"),  # both ways between the planes
        ("E\u0301cole ﬁn", "écolefin", "écolefin", "écolefin"),
        ("각 각", "각각", "각각", "각각"),
        ("Ⅻ ½ m² ㎏", "xii12m2kg", "xii00m0kg", "xii12m2kg"),
        ("1,999 € \u0663\u0664 १२ 𝟗", "1999\u0663\u0664१२9", "000000000", "1999\u0663\u0664१२9"),
        ("... ！？ 😀", "", "", ""),
    ],
)
def test_known_folds_with_nfkc(text: str, nfkc: str, digits: str, hans: str) -> None:
    assert folded(pa.array([text]), "nfkc-v1") == [nfkc]
    assert folded(pa.array([text]), "nfkc-digits-v1") == [digits]
    assert folded(pa.array([text]), "nfkc-hans-v1") == [hans]
    assert folded(pa.array([text]), "none-v1") == [text]


@pytest.mark.parametrize("fold", FOLDS)
@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.one_of(st.text(max_size=80), st.text("AbȺ é中臺㑮１² 9\u0301😀", max_size=80)), max_size=5)
)
def test_random_unicode(fold: str, texts: list[str]) -> None:
    assert folded(pa.array(texts, pa.string()), fold) == [slow_fold(text, fold) for text in texts]


# blake2b-64 of the folds of all characters of Unicode 14 that have a class, one line each.
FROZEN = {
    "none-v1": "6c6c628740f3bd3b",
    "fold-v1": "65d7be47328919c2",
    "nfkc-v1": "6e49aaf3f35681b9",
    "nfkc-digits-v1": "e3cd67e65c9f54ef",
    "nfkc-hans-v1": "e7e09d4a2f42b382",
}


@pytest.mark.parametrize("fold", FOLDS)
def test_folds_are_frozen(fold: str) -> None:
    characters = [chr(c) for c in range(0x110000) if CLASSES[c]]
    found = folded(pa.array(characters), fold)
    assert found == [slow_fold(character, fold) for character in characters]
    assert hashlib.blake2b("\n".join(found).encode(), digest_size=8).hexdigest() == FROZEN[fold]


def test_the_table_of_traditional_characters_is_frozen() -> None:
    found = hashlib.sha256(HANS_TABLE.read_bytes()).hexdigest()
    assert found == "5104f5fa09553b215204929c9bb206313d4b0eaa0f1f6f24881fdfaaac2b71ec"
    assert len(SIMPLIFIED) == 4105
    assert {c for c in SIMPLIFIED.values() if c in SIMPLIFIED} == {"苧"}  # 薴 becomes 苧, which becomes 苎
    assert all(CLASSES[ord(c)] & unicode.HAN for pair in SIMPLIFIED.items() for c in pair)


def test_an_unknown_fold_is_refused() -> None:
    with pytest.raises(ValueError, match="no fold 'nfkc-v2'"):
        fold_text(pa.array(["a"]), fold="nfkc-v2")


def test_every_character_and_folding_twice() -> None:
    text = "".join(chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000)
    (once,) = folded(pa.array([text]))
    assert once == slow_fold(text)
    assert folded(pa.array([once])) == [once]


@pytest.mark.parametrize("fold", FOLDS)
@pytest.mark.parametrize("storage", [pa.string(), pa.large_string()])
def test_slices_and_nulls(storage: pa.DataType, fold: str) -> None:
    text = pa.array(["Gone", "A b", None, "", "C-d", "Gone"], storage).slice(1, 4)
    expected = ["A b", "", "", "C-d"] if fold == "none-v1" else ["ab", "", "", "cd"]
    assert folded(text, fold) == expected
    assert folded(pa.array([], storage), fold) == []


def test_broken_utf8_folds_to_what_is_whole_in_it() -> None:
    storage = pa.array([b"A\xe4", b"\xb8B", b"\xc3"], pa.binary())
    assert folded(pa.Array.from_buffers(pa.string(), 3, storage.buffers())) == ["a", "b", ""]
