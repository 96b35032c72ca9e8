"""The documents of a build, in NFC, and which of them are held back from it.

Every tenth document (by its place in the file) is held back: the numbers 9, 19, and so on. A file of fewer
documents than that is cut at line ends into documents of about four kilobytes first, so that something is
held back of every language.
"""

import gzip
import hashlib
import sysconfig
import unicodedata
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import orjson

from tokenizer_build.build_recipe import RecipeError, Text

_SHORT_BYTES = 4096  # of the documents that a file of few is cut into
_LONGEST_FILE = 1_000_000  # bytes of a code file; longer ones are tables and generated parsers


class Document(NamedTuple):
    """One text of a language; `held_back` is for measuring only."""

    source: str
    licence: str
    text: str
    held_back: bool


Found = tuple[str, str, str]  # source, licence, text


def text_path(text: Text, data: Path) -> Path:
    """Where a text lies; RecipeError if there is nothing."""
    if text.format != "jsonl":
        return Path(sysconfig.get_paths()["stdlib" if text.format == "python" else "purelib"])
    path = data / text.path
    if not path.is_file():
        raise RecipeError(f"texts.{text.language}.path: there is no file {path}")
    return path


def read_documents(text: Text, data: Path, held_back: int) -> Iterator[Document]:
    """All documents of a text; RecipeError naming the line if one has no text."""
    path = text_path(text, data)
    found = _json_lines(path) if text.format == "jsonl" else _python_files(path, text.format)
    few = _few(_up_to(found, text.most_bytes), max(held_back, 1))
    for number, (source, licence, content) in enumerate(few):
        kept_out = bool(held_back) and number % held_back == held_back - 1
        yield Document(source, licence, unicodedata.normalize("NFC", content), kept_out)


def _few(found: Iterator[Found], few: int) -> Iterator[Found]:
    first = list(islice(found, few))
    if len(first) == few:
        yield from first
        yield from found
        return
    for source, licence, content in first:
        lines: list[str] = []
        size = 0
        for line in content.splitlines(keepends=True):
            lines.append(line)
            size += len(line.encode())
            if size >= _SHORT_BYTES:
                yield source, licence, "".join(lines)
                lines, size = [], 0
        if lines:
            yield source, licence, "".join(lines)


def _up_to(found: Iterator[Found], most_bytes: int) -> Iterator[Found]:
    used = 0
    for source, licence, content in found:
        used += len(content.encode())
        if most_bytes and used > most_bytes:
            return
        yield source, licence, content


def _json_lines(path: Path) -> Iterator[Found]:
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                record = orjson.loads(line)
                licence = str(record.get("license", "not stated"))
                yield str(record.get("source", "")), licence, str(record["text"])
            except (orjson.JSONDecodeError, KeyError, AttributeError) as error:
                raise RecipeError(f"{path} line {number}: no document with a text: {error!r}") from None


def _python_files(folder: Path, source: str) -> Iterator[Found]:
    """Python files in the order of the hashes of their contents, each content once; not tests, not vendored.

    The order mixes packages, so that a limit on bytes and every tenth document are fair samples.
    """
    licence = "PSF-2.0" if source == "python" else "those of the packages"
    left_out = {"site-packages", "dist-packages", "test", "tests", "_vendor"}
    contents: dict[bytes, Path] = {}
    for path in sorted(folder.rglob("*.py")):
        if not left_out & set(path.relative_to(folder).parts[:-1]) and path.stat().st_size <= _LONGEST_FILE:
            contents.setdefault(hashlib.sha256(path.read_bytes()).digest(), path)
    for _, path in sorted(contents.items()):
        try:
            yield source, licence, path.read_bytes().decode()
        except UnicodeDecodeError:
            continue  # a test of encodings; not text
