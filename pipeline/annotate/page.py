"""The task of the sandboxed child: raw records in, a batch of texts out.

HTTP response -> bytes of a page -> characters -> main text -> normal form -> language. Each record gives one
row, with a text or with the reason why there is none; what brings the process down is the sandbox's affair
(pipeline/sandbox.py), and so is memory. Languages are found for the whole group at the end, in one call.

A frame is a 4-byte little-endian length, a JSON header of that length ({"media", "url", "charset"}), and the
payload. media: "http" (a raw response), "html" (the bytes of a page), "text" (UTF-8; other bytes are decoded
like a page's).

Costs 2 to 3 ms for a page of 25 kB with resiliparse, of which extraction is three quarters.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any

import orjson
import pyarrow as pa

from pipeline.annotate.charset import decode_page
from pipeline.annotate.charset_model import load_charset_model
from pipeline.annotate.declared import read_declared
from pipeline.annotate.extract.engines import ENGINES, NEVER, PageRefused, main_text_or_trafilatura
from pipeline.annotate.language import identify_languages, judge_paragraphs, load_language_model
from pipeline.annotate.normalize import normalize_text
from pipeline.annotate.read.http_response import decode_http_response
from pipeline.counts import PARAGRAPH_COUNTS
from pipeline.schema import LANGUAGES

STAGES = (
    "decode",
    "charset",
    "extract",
    "normalize",
    "language",
)  # nanoseconds of each in the batch's metadata
_HEADER_LENGTH = struct.Struct("<I")
_MAX_DETAIL, _MAX_TITLE = 200, 500  # characters
_COLUMNS = pa.schema(
    [
        ("reason", pa.string()),  # "" if there is a text
        ("detail", pa.string()),
        ("text", pa.string()),
        ("charset", pa.string()),
        ("title", pa.string()),
        ("author", pa.string()),
        ("published", pa.string()),
        ("declared_language", pa.string()),
        *((column.name, column.type) for column in LANGUAGES),
        ("http_status", pa.int16()),  # 0 if there was no response, or none that was read
    ]
)


@dataclass(frozen=True, slots=True)
class Settings:
    """What the task needs to know; the JSON object given to open_task has these keys."""

    engine: str
    max_page_bytes: int
    max_ratio: int
    language_model: str  # absolute path
    language_model_sha256: str
    paragraph_languages: bool = False
    fallback_doubt: float = NEVER
    # "<" in a page: four times what the largest of 3,371 real pages held.
    max_tags: int = 200_000


@dataclass(slots=True)
class Row:
    """One row of the answer before its language is known."""

    reason: str = ""
    detail: str = ""
    text: str = ""
    charset: str = ""
    title: str = ""
    author: str = ""
    published: str = ""
    declared_language: str = ""
    http_status: int = 0


def open_task(settings: bytes) -> Callable[[Iterator[bytes]], bytes]:
    """The task for settings in JSON; it turns frames into an Arrow IPC stream of one batch, a row per frame.

    Reasons: those of decode_http_response; page_too_large, undecodable, too_many_tags, too_many_blocks,
    too_deep, too_many_attributes, extract_error, empty_text. Raises KeyError, TypeError, ValueError or
    OSError on settings that cannot work.
    """
    pa.set_memory_pool(pa.system_memory_pool())  # the others reserve address space, which the sandbox limits
    pa.set_cpu_count(1)
    given = Settings(**orjson.loads(settings))
    extract = ENGINES[given.engine]
    if given.fallback_doubt < NEVER:
        extract = main_text_or_trafilatura(given.fallback_doubt)
    extract("<p>", "")  # its imports belong to the start, not to the first page's CPU time
    load_charset_model()
    model = load_language_model(given.language_model, given.language_model_sha256)

    def read_pages(frames: Iterator[bytes]) -> bytes:
        spent: dict[str, int] = dict.fromkeys(STAGES, 0)
        rows = [_read_page(frame, given, extract, spent) for frame in frames]
        return _answer(rows, model, given.paragraph_languages, spent)

    return read_pages


def _read_page(
    frame: bytes, settings: Settings, extract: Callable[[str, str], tuple[str, str]], spent: dict[str, int]
) -> Row:
    row = Row()
    start = _HEADER_LENGTH.size + _HEADER_LENGTH.unpack_from(frame)[0]
    header = orjson.loads(frame[_HEADER_LENGTH.size : start])
    body, charset, language = frame[start:], header["charset"], ""

    began = perf_counter_ns()
    if header["media"] == "http":
        response = decode_http_response(body, max_bytes=settings.max_page_bytes, max_ratio=settings.max_ratio)
        began = _spend(spent, "decode", began)
        if isinstance(response, str):
            row.reason = response
            return row
        row.http_status, body, charset = response.status, response.body, response.charset or charset
        language = response.language

    if len(body) > settings.max_page_bytes:
        row.reason = "page_too_large"
        return row
    page = (
        _decode_text(body, charset)
        if header["media"] == "text"
        else decode_page(body, header_charset=charset)
    )
    began = _spend(spent, "charset", began)
    if page is None:
        row.reason = "undecodable"
        return row
    text, row.charset = page

    if header["media"] != "text":
        if body.count(b"<") > settings.max_tags:
            row.reason = "too_many_tags"
            return row
        try:
            text, title = extract(text, header["url"])
        except MemoryError:
            raise  # the sandbox decides, in a fresh process
        except PageRefused as error:
            row.reason = str(error)
            return row
        except Exception as error:  # whatever a parser makes of a bad page, it is the page's affair
            row.reason, row.detail = "extract_error", _describe(error)
            return row
        row.title = " ".join(normalize_text(title).split())[:_MAX_TITLE]
        row.author, row.published, row.declared_language = read_declared(page[0], language)
        began = _spend(spent, "extract", began)

    row.text = normalize_text(text)
    _spend(spent, "normalize", began)
    if not row.text.strip():
        row.reason, row.text = "empty_text", ""
    return row


def _decode_text(body: bytes, charset: str) -> tuple[str, str] | None:
    try:
        return body.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        return decode_page(body, header_charset=charset)


def _spend(spent: dict[str, int], stage: str, began: int) -> int:
    now = perf_counter_ns()
    spent[stage] += now - began
    return now


def _describe(error: Exception) -> str:
    text = f"{type(error).__name__}: {error}"[:_MAX_DETAIL]
    return "".join(character if character.isprintable() else "?" for character in text)


def _answer(rows: list[Row], model: Any, by_paragraph: bool, spent: dict[str, int]) -> bytes:
    began = perf_counter_ns()
    texts = [row.text for row in rows]
    codes, scores = identify_languages(model, texts)
    paragraphs = judge_paragraphs(model, texts if by_paragraph else [""] * len(rows), codes)
    _spend(spent, "language", began)
    columns = {name: [getattr(row, name) for row in rows] for name in _COLUMNS.names if name in Row.__slots__}
    columns |= {"language": codes, "language_score": scores}
    columns |= dict(zip(PARAGRAPH_COUNTS, paragraphs.T, strict=True))
    schema = _COLUMNS.with_metadata({stage: str(nanoseconds) for stage, nanoseconds in spent.items()})
    arrays = [pa.array(columns[field.name], field.type) for field in schema]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))
    return sink.getvalue().to_pybytes()
