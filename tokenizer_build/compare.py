"""How vocabularies compare on any text: compression, round trips, reachability, characters.

Compression is what the Qwen report draws: tokens relative to a baseline on the same documents, less is
better; bytes per token is the same thing without a baseline. Fertility is tokens per word, a word being what
white space separates; in Chinese, Japanese and Thai that means little, tokens per character stands beside.

`o200k_base` is counted by tiktoken, whose pattern `scan` does not know; all others by our own encoder.
"""

import gzip
import importlib.util
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from tokenizer_build.reachability import find_unreachable
from tokenizer_build.tokenizer import Tokenizer
from tokenizer_build.vocabulary import PATTERNS, find_vocabulary, load_ranks, pattern_of

# tiktoken_ext/openai_public.py; the file is found in litellm as that of cl100k_base is.
O200K_FILE = "litellm_core_utils/tokenizers/fb374d419588a4632f3f557e76b4b70aebbca790"
O200K_SHA256 = "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"
_UPPER, _LOWER = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}", r"\p{Ll}\p{Lm}\p{Lo}\p{M}"
_ENDING = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
O200K_PATTERN = "|".join(
    [
        rf"[^\r\n\p{{L}}\p{{N}}]?[{_UPPER}]*[{_LOWER}]+{_ENDING}",
        rf"[^\r\n\p{{L}}\p{{N}}]?[{_UPPER}]+[{_LOWER}]*{_ENDING}",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    ]
)
# Ranks of Chinese characters by frequency: about one, two and three years of primary school, then the
# lists of everyday (3,500) and general (8,105) characters of 2013.
BANDS = (500, 1500, 3500, 8105)


@dataclass(frozen=True, slots=True)
class Compared:
    """A vocabulary, and how to count the tokens of documents with it."""

    name: str
    tokens: list[bytes]
    count: Callable[[pa.Array], int]
    differ: Callable[[pa.Array], int]  # documents that do not come back from encoding and decoding
    unreachable: int | None  # tokens that no text gives; None where the pattern is not ours to judge


@dataclass(frozen=True, slots=True)
class Measure:
    """One vocabulary on one text."""

    text: str
    vocabulary: str
    bytes: int
    characters: int
    words: int
    tokens: int

    @property
    def bytes_per_token(self) -> float:
        return self.bytes / max(1, self.tokens)


def load_compared(name_or_path: str) -> Compared:
    """A vocabulary by name or path; FileNotFoundError says what exists and how to get it."""
    if name_or_path == "o200k_base":
        return _load_o200k()
    path = find_vocabulary(name_or_path)
    vocabulary, ranks = load_ranks(path, sha256=None)
    tokenizer = Tokenizer.load(name_or_path)
    tokens = list(ranks)

    def differ(texts: pa.Array) -> int:
        back = tokenizer.decode_batch(tokenizer.encode_batch(texts))
        if back.equals(texts):
            return 0
        return sum(one != two for one, two in zip(back.to_pylist(), texts.to_pylist(), strict=True))

    def count(texts: pa.Array) -> int:
        return int(tokenizer.count_batch(texts).to_numpy().sum())

    found = find_unreachable(tokens, PATTERNS[pattern_of(path)])
    return Compared(vocabulary.name, tokens, count, differ, len(found))


def _load_o200k() -> Compared:
    spec = importlib.util.find_spec("litellm")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(
            "vocabulary 'o200k_base' comes with the package 'litellm': pip install litellm"
        )
    path = Path(spec.submodule_search_locations[0], O200K_FILE)
    _, ranks = load_ranks(path, sha256=O200K_SHA256)
    import tiktoken  # an oracle of the tests; nothing else here needs it

    encoding = tiktoken.Encoding(
        "o200k_base", pat_str=O200K_PATTERN, mergeable_ranks=ranks, special_tokens={}
    )

    def count(texts: pa.Array) -> int:
        return sum(len(encoding.encode_ordinary(text)) for text in texts.to_pylist())

    def differ(texts: pa.Array) -> int:
        return sum(encoding.decode(encoding.encode_ordinary(text)) != text for text in texts.to_pylist())

    return Compared("o200k_base", list(ranks), count, differ, None)


def read_texts(path: Path) -> list[str]:
    """Documents of a .jsonl or .jsonl.gz file (member "text"), or the files of a folder, in NFC.

    ValueError naming the line without text; FileNotFoundError if there is nothing. In a folder, files
    that are no UTF-8 are passed over.
    """
    if path.is_dir():
        texts = []
        for file in sorted(path.rglob("*")):
            try:
                texts += [file.read_text("utf-8")] if file.is_file() else []
            except UnicodeDecodeError:
                continue
    elif path.name.endswith((".jsonl", ".jsonl.gz")):
        texts = []
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                try:
                    texts.append(str(orjson.loads(line)["text"]))
                except (orjson.JSONDecodeError, KeyError, TypeError) as error:
                    raise ValueError(f"{path} line {number}: no document with a text: {error!r}") from None
    else:
        texts = [path.read_text("utf-8")]
    return [unicodedata.normalize("NFC", text) for text in texts]


def measure(compared: Sequence[Compared], texts: Mapping[str, Sequence[str]]) -> list[Measure]:
    """Every vocabulary on every text. AssertionError if a document does not survive a round trip."""
    measures = []
    for name, documents in texts.items():
        array = pa.array(documents, pa.large_string())
        size = sum(len(document.encode()) for document in documents)
        characters = sum(map(len, documents))
        words = sum(len(document.split()) for document in documents)
        for vocabulary in compared:
            if changed := vocabulary.differ(array):
                raise AssertionError(f"{vocabulary.name} on {name}: {changed} documents come back changed")
            tokens = vocabulary.count(array)
            measures.append(Measure(name, vocabulary.name, size, characters, words, tokens))
    return measures


def total(measures: Sequence[Measure], texts: Sequence[str], name: str) -> list[Measure]:
    """The sums over some texts, by vocabulary, as a text of that name."""
    sums: dict[str, Measure] = {}
    for each in measures:
        if each.text in texts:
            old = sums.get(each.vocabulary, Measure(name, each.vocabulary, 0, 0, 0, 0))
            sums[each.vocabulary] = Measure(
                name,
                each.vocabulary,
                old.bytes + each.bytes,
                old.characters + each.characters,
                old.words + each.words,
                old.tokens + each.tokens,
            )
    return list(sums.values())


def chinese_bands(compared: Sequence[Compared], documents: Sequence[str]) -> list[dict[str, Any]]:
    """Share of Chinese characters that are one token, by how frequent they are in the documents."""
    codes = np.frombuffer("".join(documents).encode("utf-32-le"), np.uint32)
    counts = np.bincount(codes[(codes >= 0x4E00) & (codes <= 0x9FFF)] - 0x4E00, minlength=0x5200)
    order = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]
    characters = [chr(0x4E00 + int(code)).encode() for code in order]
    known = {vocabulary.name: set(vocabulary.tokens) for vocabulary in compared}
    bands, begin = [], 0
    for end in (*BANDS, len(characters)):
        band = characters[begin:end]
        if band:
            shares = {
                name: sum(character in tokens for character in band) / len(band)
                for name, tokens in known.items()
            }
            bands.append({"from": begin + 1, "to": begin + len(band), "single": shares})
        begin = max(begin, end)
    return bands


def as_table(measures: Sequence[Measure], baseline: str) -> dict[str, dict[str, Any]]:
    """By text: its size, and of every vocabulary bytes per token and tokens relative to the baseline's."""
    table: dict[str, dict[str, Any]] = {}
    base = {each.text: each.tokens for each in measures if each.vocabulary == baseline}
    for each in measures:
        row = table.setdefault(each.text, {"bytes": each.bytes, "bytes_per_token": {}, "relative_tokens": {}})
        row["bytes_per_token"][each.vocabulary] = round(each.bytes_per_token, 4)
        if base.get(each.text):
            row["relative_tokens"][each.vocabulary] = round(each.tokens / base[each.text], 4)
    return table


def to_json(measures: Sequence[Measure]) -> bytes:
    """All measures as JSON, for other tools."""
    return orjson.dumps([asdict(each) for each in measures], option=orjson.OPT_INDENT_2)
