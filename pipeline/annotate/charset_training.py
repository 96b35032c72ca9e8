"""Trains the model of charsets: `python -m pipeline.annotate.charset_training DATA OUT`

DATA: a folder with `langid.tar.gz` (Tatoeba's sentences; of each language every other one, the rest is for
tests/benchmarks/charset.py) and `text/` (`LANGUAGE.jsonl.gz`). OUT: a folder for `charset_model.npz` and its
card. Takes one minute. Counts become costs by interpolation: pairs of characters, then single ones, then the
marks that pages of any language have, then anything.
"""

import argparse
import gzip
import hashlib
import json
import math
import tarfile
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.annotate.charset_labels import get_codec
from pipeline.annotate.charset_model import (
    ASCII_CLASSES,
    ASCII_LETTER,
    BETWEEN,
    COST_STEPS,
    KINDS,
    LANGUAGES,
    WIDE,
    ascii_classes,
    kinds_of,
)

_TEXTS = {
    "ara": "ar", "deu": "de", "eng": "en", "spa": "es", "fra": "fr", "heb": "he", "ita": "it", "jpn": "ja",
    "kor": "ko", "pol": "pl", "por": "pt", "rus": "ru", "tha": "th", "tur": "tr", "vie": "vi", "cmn": "zh",
}  # fmt: skip
_TEXT_CHARACTERS = 2_000_000  # of every language; Chinese characters are many, so five times that for them
_WIDE_CHARACTERS = 10_000_000
# Marks that pages of any language have, with weights.
_MARKS = dict(zip("\xa0—–’“”‘«»©·•…®°„€™‹›´×", [20, *[10] * 5, *[5] * 9, 3, 3, *[2] * 5], strict=True))
_MARK_SHARE, _ANY_SHARE, _ANY_KINDS = 0.03, 0.01, 200
_BACKOFF = 4  # occurrences that what follows characters of the kind counts for
_LETTERS_TOGETHER = 500  # occurrences of letters of one script in a row, put on top of what a text has
_ALONE_MARK_SHARE, _ALONE_ANY_SHARE = 0.45, 0.05  # of characters between spaces
_FEW_ALONE = 50
_MIN_OCCURRENCES = 3
_HIGHEST = 120  # 15 nats
_TONES = "\u0300\u0301\u0303\u0309\u0323"


def decomposed(text: str) -> str:
    """Vietnamese as windows-1258 writes it: tone marks apart, letters with other marks whole."""
    apart = []
    for whole in text:
        marks = unicodedata.normalize("NFD", whole)
        letter = unicodedata.normalize("NFC", "".join(mark for mark in marks if mark not in _TONES))
        apart.append(letter + "".join(mark for mark in marks if mark in _TONES))
    return "".join(apart)


def main() -> None:
    """Reads the texts, writes the model and its card."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    sentences = read_sentences(given.data / "langid.tar.gz")
    arrays: dict[str, NDArray[np.generic]] = {}
    characters: dict[str, int] = {}
    for language in LANGUAGES:
        text = "\n".join(sentences[language]) + read_text(given.data, language, _TEXT_CHARACTERS)
        text = unicodedata.normalize("NFC", text)
        text = decomposed(text) if language == "vie" else text
        characters[language] = len(text)
        arrays |= {f"{language}_{name}": array for name, array in pair_costs(text).items()}
    simplified = Counter(read_text(given.data, "cmn", _WIDE_CHARACTERS))
    japanese = Counter(read_text(given.data, "jpn", _WIDE_CHARACTERS))
    korean = Counter(read_text(given.data, "kor", _WIDE_CHARACTERS))
    traditional = in_traditional(simplified) + Counter("".join(sentences["yue"]))
    for name, counts, encoding in (
        ("hans", simplified + Counter("".join(sentences["cmn"])), "gb18030"),
        ("hant", traditional, "big5"),
        ("japanese", japanese + Counter("".join(sentences["jpn"])), "shift_jis"),
        ("korean", korean + Counter("".join(sentences["kor"])), "euc-kr"),
    ):
        assert name in WIDE.values()
        characters[name] = sum(counts.values())
        arrays |= {f"wide_{name}_{part}": array for part, array in character_costs(counts, encoding).items()}
    given.out.mkdir(parents=True, exist_ok=True)
    file = given.out / "charset_model.npz"
    np.savez_compressed(file, allow_pickle=False, **{name: arrays[name] for name in sorted(arrays)})
    inputs = [
        given.data / "langid.tar.gz",
        *(given.data / f"text/{code}.jsonl.gz" for code in _TEXTS.values()),
    ]
    card = {
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "sources": "sentences of Tatoeba (every other one); text/*.jsonl.gz of the project's public data",
        "inputs": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in inputs},
        "characters": characters,
        "settings": {
            "backoff": _BACKOFF,
            "mark_share": _MARK_SHARE,
            "any_share": _ANY_SHARE,
            "min_occurrences": _MIN_OCCURRENCES,
            "cost_steps": COST_STEPS,
        },
    }
    file.with_suffix(".json").write_text(json.dumps(card, indent=1) + "\n")


def read_sentences(archive: Path) -> dict[str, list[str]]:
    """Every other sentence of Tatoeba by language."""
    found: dict[str, list[str]] = {}
    with tarfile.open(archive) as files:
        for member in files:
            content = files.extractfile(member) if "/tatoeba." in member.name else None
            if content is not None:
                language = member.name.rpartition(".")[2]
                if language != "eng":  # in every pair
                    found[language] = content.read().decode().splitlines()[::2]
    return {**found, "eng": []}


def read_text(data: Path, language: str, characters: int) -> str:
    """The first texts of a language, at most so many characters; "" where there are none."""
    path = data / f"text/{_TEXTS.get(language, '-')}.jsonl.gz"
    if not path.exists():
        return ""
    pieces: list[str] = []
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            pieces.append(json.loads(line)["text"][:characters])
            characters -= len(pieces[-1])
            if characters <= 0:
                break
    return "\n".join(pieces)


def pair_costs(text: str) -> dict[str, NDArray[np.generic]]:
    """The arrays of one language: its characters outside of ASCII, costs of pairs that occur, of each
    character after one of another kind, and of one that stands between spaces.
    """
    frequent = Counter(character for character in text if character >= "\x80")
    own = [c for c, count in sorted(frequent.items()) if count >= _MIN_OCCURRENCES and c <= "\uffff"]
    outside = sorted({*own[:400], *_MARKS})
    points = np.array([ord(character) for character in outside], np.uint16)
    classes = np.full(1 << 16, -1, np.int64)
    classes[:128] = ascii_classes()
    classes[points] = ASCII_CLASSES + np.arange(len(points))
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    row = np.where(codes < len(classes), classes[np.minimum(codes, 0xFFFF)], -1)
    size = ASCII_CLASSES + len(points)
    both = (row[:-1] >= 0) & (row[1:] >= 0)
    counts = np.bincount(row[:-1][both] * size + row[1:][both], minlength=size * size).reshape(size, size)
    marks = [0] * ASCII_CLASSES + [_MARKS.get(character, 0) for character in outside]
    letters = np.isin(np.arange(size), np.arange(1, 27))
    kinds = kinds_of(points)
    after_kind = np.stack([counts[kinds == kind].sum(0) for kind in range(KINDS)])
    after_kind[ASCII_LETTER] += np.where(letters, _LETTERS_TOGETHER // 26, 0)
    after = [_mixed(row, marks, _MARK_SHARE, _ANY_SHARE) for row in after_kind]
    totals = counts.sum(1)
    between = np.isin(row, BETWEEN)
    lone = row[1:-1][between[:-2] & between[2:] & (row[1:-1] >= ASCII_CLASSES)]
    own = np.bincount(lone, minlength=size)
    lone_marks = _mixed(
        own, marks, _ALONE_MARK_SHARE + (_FEW_ALONE / (_FEW_ALONE + len(lone))) / 4, _ALONE_ANY_SHARE
    )
    firsts, seconds = np.nonzero(counts)
    firsts, seconds = firsts[outside_pair(firsts, seconds)], seconds[outside_pair(firsts, seconds)]
    seen = [
        _cost((counts[one, two] + _BACKOFF * after[kinds[one]][two]) / (totals[one] + _BACKOFF))
        for one, two in zip(firsts.tolist(), seconds.tolist(), strict=True)
    ]
    return {
        "points": points,
        "after": np.array([[_cost(share) for share in shares] for shares in after], np.uint8),
        "unseen": np.array([_cost(_BACKOFF / (total + _BACKOFF)) for total in totals.tolist()], np.uint8),
        "lone": np.array([_cost(share) for share in lone_marks[ASCII_CLASSES:]], np.uint8),
        "firsts": firsts.astype(np.uint16),
        "seconds": seconds.astype(np.uint16),
        "costs": np.array(seen, np.uint8),
    }


def outside_pair(firsts: NDArray[np.int64], seconds: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which pairs have a character outside of ASCII."""
    return (firsts >= ASCII_CLASSES) | (seconds >= ASCII_CLASSES)


def _mixed(counts: NDArray[np.int64], marks: list[int], mark_share: float, any_share: float) -> list[float]:
    own, total, of_marks = 1 - mark_share - any_share, max(int(counts.sum()), 1), sum(marks)
    return [
        own * count / total + mark_share * weight / of_marks + any_share / _ANY_KINDS
        for count, weight in zip(counts.tolist(), marks, strict=True)
    ]


def character_costs(counts: Counter[str], encoding: str) -> dict[str, NDArray[np.generic]]:
    """Costs of the characters outside of ASCII that a charset of two-byte characters has."""
    usable = {c: n for c, n in counts.items() if "\x80" <= c <= "\uffff" and _encodes(c, encoding)}
    total = sum(usable.values())
    points = sorted(usable)
    return {
        "points": np.array([ord(character) for character in points], np.uint16),
        "costs": np.array([_cost(0.98 * usable[character] / total) for character in points], np.uint8),
    }


def in_traditional(simplified: Counter[str]) -> Counter[str]:
    """Frequencies of Chinese characters as traditional Chinese would have them: of a simplified one those of
    all its traditional forms, in equal shares.
    """
    forms: dict[str, list[str]] = {}
    for traditional, simple in _variants():
        if _encodes(traditional, "big5"):
            forms.setdefault(simple, []).append(traditional)
    counts: Counter[str] = Counter()
    for character, count in simplified.items():
        written = forms.get(character, [character])
        for form in written:
            counts[form] += max(count // len(written), 1)
    return counts


def _variants() -> Iterator[tuple[str, str]]:
    table = Path(__file__).parents[1] / "kernels/hans-v1.txt"
    for line in table.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#") and len(line.replace("\t", "").replace(" ", "")) == 2:
            traditional, simple = line.replace("\t", "").replace(" ", "")
            yield traditional, simple


def _encodes(character: str, encoding: str) -> bool:
    try:
        return bool(character.encode(get_codec(encoding)))
    except UnicodeEncodeError:
        return False


def _cost(share: float) -> int:
    return min(round(-math.log(share) * COST_STEPS), _HIGHEST)


if __name__ == "__main__":
    main()
