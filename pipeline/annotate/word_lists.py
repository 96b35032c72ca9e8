"""Word lists by language, counted in texts without regard to context.

A folder holds a file for each language, named by its code as the language model labels it ("en", or
"en.txt"), a word or phrase a line; empty lines and what begins with # say nothing. That is the layout of
LDNOOBW ("List of Dirty, Naughty, Obscene, and Otherwise Bad Words"), whose folder can be given as it is.
kernels/phrase_table.py says what is found: whole words of scripts that are written with spaces, in any case;
anywhere in Chinese and the like, where a character alone (LDNOOBW's zh has 性, 奶) is mostly part of an
innocent word.

What it tells: words without their context. A list counts a page on breast cancer and a novel's oath with
the page that it is meant for, so counts are for shares and for numbers of different words;
`max_flagged_words = 0` is C4's rule, which loses both (Dodge et al. 2021).

Caught although it is disguised: full-width letters, upper case, zero-width joiners, single accents that are
written as marks of their own, traditional characters for simplified ones, hyphens or line ends between the
words of a phrase. Not caught: look-alike letters of other scripts (Cyrillic a), digits or signs for letters
(f*ck, 5hit), spaces or signs between the letters of a word, homophones (草泥马) and Pinyin, unless a list has
them.
"""

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from importlib import resources
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.counts import FLAGGED_COUNTS, WORD_CATEGORIES
from pipeline.kernels.phrase_search import count_phrases
from pipeline.kernels.phrase_table import PhraseTable, build_phrases, read_phrase
from pipeline.score_model import PACKAGED
from pipeline.storage import Storage

LISTS_VERSION = 1
Lists = Mapping[str, Mapping[str, list[str]]]  # language -> category -> phrases


def read_word_lists(folders: Mapping[str, str]) -> dict[str, dict[str, list[str]]]:
    """The lists in a folder for each category, by language; ValueError for a folder without any.

    Files that are not named like a language (README.md, LICENSE) are passed over.
    """
    found: dict[str, dict[str, list[str]]] = {}
    for category, name in sorted(folders.items()):
        folder = Path(str(resources.files("pipeline.annotate"))) / "words" / category
        if name != PACKAGED:
            folder = Path(name)
        if not folder.is_dir():
            raise ValueError(f"{category}: {folder} is no folder of word lists")
        files = [file for file in sorted(folder.iterdir()) if file.is_file() and _language(file)]
        if not files:
            raise ValueError(f"{category}: {folder} holds no list that is named like a language (en, zh.txt)")
        for file in files:
            try:
                lines = file.read_text(encoding="utf-8-sig").splitlines()
            except UnicodeDecodeError as error:
                raise ValueError(f"{category}: {file} is not UTF-8: {error}") from error
            phrases = sorted({line.strip() for line in lines if line.strip() and not line.startswith("#")})
            found.setdefault(_language(file), {})[category] = phrases
    return found


def _language(file: Path) -> str:
    """The language in a file's name, empty if there is none: en, zh.txt, cmn_Hani, fr-CA-u-sd-caqc."""
    stem = file.name.removesuffix(".txt")
    return stem if stem[:1].islower() and stem.replace("-", "").replace("_", "").isalnum() else ""


def lists_digest(lists: Lists) -> str:
    """sha256 hex of what lists hold."""
    text = json.dumps([LISTS_VERSION, lists], sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def lists_name(digest: str) -> str:
    """Where the lists of that digest lie in a run's folder."""
    return f"work/models/words-{digest[:12]}.json"


def save_lists(storage: Storage, lists: Lists, digest: str) -> None:
    """Puts lists into a run's folder, unless they are there."""
    if not storage.size(lists_name(digest)):
        storage.put_bytes(lists_name(digest), json.dumps(lists, sort_keys=True).encode())


@lru_cache(maxsize=64)
def open_table(output: str, digest: str, language: str) -> PhraseTable | None:
    """The phrases for a language out of a run's folder; None if there are none."""
    lists = Storage.open(output).read_json(lists_name(digest))
    if lists is None:
        raise FileNotFoundError(f"{output} has no {lists_name(digest)}: run the recipe again")
    return table_of(lists.get(language, {}))


def table_of(by_category: Mapping[str, list[str]]) -> PhraseTable | None:
    """The automaton of one language's lists; None if no phrase of them can be told from other text."""
    phrases: dict[tuple[int, ...], int] = {}
    for bit, category in enumerate(WORD_CATEGORIES):
        for phrase in by_category.get(category, ()):
            if read := read_phrase(phrase):
                phrases[read] = phrases.get(read, 0) | 1 << bit
    return build_phrases(phrases) if phrases else None


def count_flagged(text: pa.Array, table: PhraseTable | None) -> np.ndarray:
    """uint32 [rows, len(FLAGGED_COUNTS)] of a string or large_string array."""
    if table is None:
        return np.zeros((len(text), len(FLAGGED_COUNTS)), np.uint32)
    return count_phrases(text, table, kinds=len(WORD_CATEGORIES))
