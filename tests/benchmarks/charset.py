"""Charsets of pages: `python tests/benchmarks/charset.py DATA [--quick] [--json]`

DATA is a folder with `encodings.tar.gz`, `langid.tar.gz`, `extraction.tar.gz` and `extraction-pages.tar.gz`.
Three sets of pages whose text is known, and one in which the stored bytes speak for themselves:

- "sentences": Tatoeba's sentences of 25 languages (those that our model has not seen), joined to pages of
  about 300 and 1,500 characters, in every charset that pages of the language came in;
- "manual": a manual in 10 languages, in the same way, its own declaration taken out;
- "pages": real pages of the extraction sets that were stored as UTF-8 but still name another charset in
  <meta>, put back into that charset; and those that are stored in another charset, by what they declare.

A page counts as read if its text comes out exactly; two charsets that give the same text are both right.
Without hints, all detectors get the same bytes (their answer is decoded by the same codecs, what does not
decode is replaced). Hints are for ours alone: `right` header or <meta>, `wrong` ones as servers give them
(iso-8859-1 for everything, UTF-8 for what is not), and `cross`: the other charset of the language, which
mostly decodes too. Milliseconds are one thread's CPU time per page, best of two. --quick: 40 seconds.
"""

import argparse
import json
import re
import sys
import tarfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
sys.path[0] = str(ROOT)  # not this folder: pipeline.py is a benchmark here

from pipeline.annotate.charset import decode_page, find_declared_charset  # noqa: E402
from pipeline.annotate.charset_labels import get_codec, resolve_charset  # noqa: E402
from pipeline.annotate.charset_training import decomposed  # noqa: E402

# Charsets that pages of a language came in (utf-8 apart), by ISO 639-3 code; the first two are each other's
# wrong hint.
CHARSETS = {
    "cmn": "gb18030 hz-gb-2312",
    "yue": "big5",
    "jpn": "shift_jis euc-jp iso-2022-jp",
    "kor": "euc-kr",
    "rus": "windows-1251 koi8-r iso-8859-5 ibm866 x-mac-cyrillic",
    "ukr": "windows-1251 koi8-u",
    "bul": "windows-1251 iso-8859-5",
    "ell": "windows-1253 iso-8859-7",
    "heb": "windows-1255 iso-8859-8",
    "ara": "windows-1256 iso-8859-6",
    "tha": "windows-874",
    "vie": "windows-1258",
    "tur": "windows-1254",
    "pol": "windows-1250 iso-8859-2",
    "ces": "windows-1250 iso-8859-2",
    "hun": "windows-1250 iso-8859-2",
    "ron": "windows-1250 iso-8859-2",
    "hrv": "windows-1250 iso-8859-2",
    "lit": "windows-1257 iso-8859-13",
    "lvs": "windows-1257 iso-8859-13",
    "est": "windows-1257 iso-8859-15",
    "deu": "windows-1252 iso-8859-15 macintosh",
    "fra": "windows-1252 iso-8859-15 macintosh",
    "spa": "windows-1252 iso-8859-15",
    "swe": "windows-1252 iso-8859-15",
}
MANUAL = {"de": "deu", "es": "spa", "fr": "fra", "ja": "jpn", "ko": "kor", "tr": "tur", "zh-cn": "cmn"}
SHORT, LONG = 300, 1_500  # characters
_SUFFIX = re.compile(r"\.(?:html|xml)\.([a-z]{2}(?:-[a-z]{2})?)(?:\.(utf8|euc-kr))?$")
_DECLARED = re.compile(r"<\?xml[^>]*\?>|<meta[^>]*charset[^>]*>", re.IGNORECASE)


class Page(NamedTuple):
    """A page: its bytes and the text that they mean."""

    set: str
    encoding: str
    language: str
    body: bytes
    text: str


def encode(text: str, encoding: str) -> bytes | None:
    """The bytes of a text, None if the charset has not all of its characters or cannot give them back."""
    if encoding == "windows-1258":
        text = decomposed(text)
    try:
        body = text.encode(get_codec(encoding))
        return body if body.decode(get_codec(encoding)) == text else None
    except UnicodeError:
        return None


def in_charsets(kind: str, language: str, text: str) -> Iterator[Page]:
    """A text in UTF-8 and in every charset of its language that has its characters."""
    for encoding in ("utf-8", *CHARSETS[language].split()):
        if (body := encode(text, encoding)) is not None and not text.isascii():
            yield Page(kind, encoding, language, body, body.decode(get_codec(encoding)))


def read_sentences(data: Path, count: int) -> Iterator[Page]:
    """`count` pages per language and length; only sentences that all charsets of the language can write."""
    with tarfile.open(data / "langid.tar.gz") as files:
        for member in files:
            language = member.name.rpartition(".")[2]
            content = files.extractfile(member) if language in CHARSETS else None
            if content is None or "/tatoeba." not in member.name:
                continue
            lines = content.read().decode().splitlines()[1::2]  # our model saw the others
            lines = [line for line in lines if all(encode(line, name) for name in CHARSETS[language].split())]
            if language == "yue":  # traditional ones only
                lines = [line for line in lines if encode(line, "hz-gb-2312") is None]
            for length, pages in ((SHORT, count), (LONG, count)):
                for _ in range(pages):
                    taken: list[str] = []
                    while lines and sum(map(len, taken)) < length:
                        taken.append(f"<p>{lines.pop()}</p>\n")
                    if sum(map(len, taken)) >= length:
                        text = f"<html><body><div class='text'>\n{''.join(taken)}</div></body></html>\n"
                        yield from in_charsets("sentences", language, text)


def read_manual(data: Path, step: int) -> Iterator[Page]:
    """Every `step`-th page of the manual."""
    with tarfile.open(data / "encodings.tar.gz") as files:
        members = sorted((m for m in files if m.isfile()), key=lambda member: member.name)
        for member in members[::step]:
            content = files.extractfile(member)
            found = _SUFFIX.search(member.name)
            if content is None or not found or found[1] not in MANUAL:
                continue
            stored = {"utf8": "utf-8", "euc-kr": "cp949", None: "latin-1"}[found[2]]
            text = _DECLARED.sub("", content.read().decode(stored))
            yield from in_charsets("manual", MANUAL[found[1]], text)


def read_stored(data: Path, step: int) -> Iterator[Page]:
    """Pages of the extraction sets that name a charset other than UTF-8, in that charset."""
    for archive in ("extraction.tar.gz", "extraction-pages.tar.gz"):
        with tarfile.open(data / archive) as files:
            members = sorted((m for m in files if m.name.endswith(".html")), key=lambda member: member.name)
            for member in members[::step]:
                content = files.extractfile(member)
                body = content.read() if content else b""
                encoding = find_declared_charset(body)
                if not encoding or encoding.startswith("utf-") or body.isascii():
                    continue
                try:
                    text = body.decode()
                except UnicodeDecodeError:
                    text = body.decode(get_codec(encoding), "replace")
                    if "\ufffd" not in text:
                        yield Page("pages", encoding, "", body, text)
                    continue
                if (back := encode(text, encoding)) is not None:
                    yield Page("pages", encoding, "", back, text)


# --- detectors ----------------------------------------------------------------------------------------------


def ours(body: bytes) -> str:
    """Our decision without any hint."""
    found = decode_page(body, header_charset="")
    return found[0] if found else ""


def _by_label(detect: Callable[[bytes], str | None]) -> Callable[[bytes], str]:
    def decode(body: bytes) -> str:
        encoding = resolve_charset(detect(body) or "") or "windows-1252"
        return body.decode(get_codec(encoding), "replace")

    return decode


def detectors() -> dict[str, Callable[[bytes], str]]:
    """Ours and the peers that are installed."""
    found: dict[str, Callable[[bytes], str]] = {"sluice": ours}
    from resiliparse.parse.encoding import detect_encoding

    found["resiliparse"] = _by_label(lambda body: detect_encoding(body, html5_compatible=False))
    with suppress(ImportError):
        import chardet  # type: ignore[reportMissingImports]

        found["chardet"] = _by_label(lambda body: chardet.detect(body)["encoding"])
    with suppress(ImportError):
        from charset_normalizer import detect

        found["charset-normalizer"] = _by_label(lambda body: str(detect(body)["encoding"] or ""))
    return found


def without_declaration(page: Page) -> Page:
    """The page with its own <meta charset> spoilt, byte for byte as long."""
    pattern = rb"(?i)(charset|encoding)(\s*=)"
    body = re.sub(pattern, lambda found: b"x" * len(found[1]) + found[2], page.body)
    text = re.sub(pattern.decode(), lambda found: "x" * len(found[1]) + found[2], page.text)
    return page._replace(body=body, text=text)


def hints(page: Page) -> Iterator[tuple[str, bytes, str, str]]:
    """(name of the hint, bytes, header's charset, text expected)."""
    label, codec = page.encoding, get_codec(page.encoding)
    names = [name for name in CHARSETS.get(page.language, "windows-1252").split() if name != label]
    yield "right header", page.body, label, page.text
    yield ("right meta", *_with_meta(page, label, codec))
    yield "header iso-8859-1", page.body, "iso-8859-1", page.text
    if page.encoding != "utf-8":
        yield "header utf-8", page.body, "utf-8", page.text
        yield ("meta utf-8", *_with_meta(page, "utf-8", codec))
    if names:
        yield "header cross", page.body, names[0], page.text
        yield ("meta cross", *_with_meta(page, names[0], codec))


def _with_meta(page: Page, label: str, codec: str) -> tuple[bytes, str, str]:
    meta = f'<meta http-equiv="Content-Type" content="text/html; charset={label}">'
    return meta.encode(codec) + page.body, "", meta + page.text


# --- table --------------------------------------------------------------------------------------------------


def main() -> None:
    """Prints the tables, and one line of JSON at the end with --json."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--errors", action="store_true", help="name the pages that ours reads wrongly")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    count, step = (6, 9) if given.quick else (20, 1)
    pages = [
        *read_sentences(given.data, count),
        *read_manual(given.data, step * 2),
        *map(without_declaration, read_stored(given.data, step // 3 or 1)),
    ]
    systems = detectors()
    right: dict[str, dict[tuple[str, str], list[int]]] = {name: defaultdict(list) for name in systems}
    seconds = dict.fromkeys(systems, 0.0)
    for page in pages:
        for name, decode in systems.items():
            best, text = 1e9, ""
            for _ in range(2):
                began = time.thread_time()
                text = decode(page.body)
                best = min(best, time.thread_time() - began)
            seconds[name] += best
            right[name][page.set, page.encoding].append(text == page.text)
            if given.errors and name == "sluice" and text != page.text:
                found = decode_page(page.body, header_charset="")
                print(f"  {page.set} {page.language} {page.encoding} read as {found and found[1]}")
    hinted: dict[str, list[int]] = defaultdict(list)
    for page in pages:
        for name, body, header, expected in hints(page):
            found = decode_page(body, header_charset=header)
            hinted[name].append(found is not None and found[0] == expected)
            if given.errors and not hinted[name][-1]:
                print(f"  {name}: {page.set} {page.language} {page.encoding} read as {found and found[1]}")

    print(f"{'set':10} {'charset':14} {'pages':>5} " + " ".join(f"{name:>18}" for name in systems))
    for key in right["sluice"]:
        row = " ".join(f"{share(right[name][key]):18.1f}" for name in systems)
        print(f"{key[0]:10} {key[1]:14} {len(right['sluice'][key]):5} {row}")
    accuracy = {
        name: share([one for kind in table.values() for one in kind]) for name, table in right.items()
    }
    mean = {name: sum(map(share, table.values())) / len(table) for name, table in right.items()}
    milliseconds = {name: 1_000 * spent / len(pages) for name, spent in seconds.items()}
    for title, values in (("all pages", accuracy), ("mean of rows", mean), ("ms per page", milliseconds)):
        print(f"{title:31} " + " ".join(f"{values[name]:18.3f}" for name in systems))
    print("\nours with hints")
    for name, kept in hinted.items():
        print(f"{name:20} {len(kept):6} {share(kept):6.1f}")
    if given.json:  # one line
        told = {
            "accuracy": {name: round(value, 2) for name, value in accuracy.items()},
            "accuracy_by_charset": {name: round(value, 2) for name, value in mean.items()},
            "hinted": {name: round(share(kept), 2) for name, kept in hinted.items()},
            "ms_per_page": {name: round(value, 4) for name, value in milliseconds.items()},
            "pages": len(pages),
            "versions": {name: version(name) for name in systems if name != "sluice"},
        }
        print(json.dumps(told))


def share(kept: list[int]) -> float:
    """Percent."""
    return 100 * sum(kept) / max(len(kept), 1)


if __name__ == "__main__":
    main()
