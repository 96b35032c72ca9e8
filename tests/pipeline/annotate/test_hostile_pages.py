"""Pages made to exhaust: each gives a text or a reason, in time and memory that its counts bound."""

import json
import os
import random
from collections.abc import Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path

import psutil
import pyarrow as pa
import pytest

from pipeline.annotate.language import PACKAGED_MODEL, PACKAGED_MODEL_SHA256, find_language_model
from pipeline.annotate.page import Settings, open_task
from pipeline.config import Annotate
from pipeline.kernels.html_shape import measure_shape
from pipeline.sandbox import Limits, Sandbox

DATA = Path(__file__).resolve().parents[3] / "../shared/data"
FUZZ_PAGES = int(os.environ.get("SLUICE_FUZZ_PAGES", "2000"))  # 100,000 take about 15 minutes
TEXT = "The water runs through the sluice and the gold stays behind. " * 8
ENTITIES = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 20))


def hostile_pages(scale: float) -> dict[str, tuple[bytes, str]]:
    """(page, its reason with an engine that builds trees) by name; at scale 1 as large as a page may be."""
    tags, size = int(199_000 * scale), int(15_000_000 * scale)
    attributes = "".join(f"a{number}=1 " for number in range(max(tags * 5, 300)))
    pages = {
        "nested blocks": ("<div>" * tags + TEXT, "too_deep"),
        "nested formatting": ("<b><i>" * (tags // 2) + TEXT, "too_deep"),
        "misnested": ("<a><div>" * (tags // 2) + "</a>" * 100 + TEXT, "too_deep"),
        "nested tables": ("<table><tr><td>" * (tags // 3) + TEXT, "too_deep"),
        "closed again": ("<div>" * (tags // 2) + TEXT + "</div>" * (tags // 2), "too_deep"),
        "formulas": ("<math><mrow>" * (tags // 2) + TEXT, "too_deep"),
        "attributes of one tag": (f"<p {attributes}>{TEXT}", "too_many_attributes"),
        "attributes that repeat": (f"<p {'a=1 ' * (size // 4)}>{TEXT}", "too_many_attributes"),
        "open comment": (f"<p>{TEXT}<!--{'x' * size}", ""),
        "open script": (f"<p>{TEXT}<script>{'<b>' * (tags // 2)}", ""),
        "open title": (f"<p>{TEXT}<title>{'x' * size}", ""),
        "open attribute": (f'<p>{TEXT}</p><p a="{"x" * size}', ""),
        "NUL bytes": ("<p>" + TEXT + "\0" * 400, ""),
        "entities": (f"<p>{TEXT}{'&amp;' * (size // 5)}", ""),
        "ampersands": (f"<p>{TEXT}{'&' * size}", ""),
        "data URI": (f"<p>{TEXT}<img src='data:image/png;base64,{'A' * size}'>", ""),
        "one word": (f"<p>{TEXT}{'x' * size}", ""),
        "spaces": (f"<p>{TEXT}{' ' * size}", ""),
        "lines": (f"<pre>{TEXT}{chr(10) * size}", ""),
        "combining marks": (f"<p>{TEXT}a{chr(0x301) * (size // 3)}", ""),
        "XML bomb": (f"<!DOCTYPE x [{ENTITIES}]><p>&l19;</p><p>{TEXT}</p>", ""),
        "JSON-LD": (f"<p>{TEXT}<script type='application/ld+json'>{'[' * size}</script>", ""),
        "line breaks": (f"<p>{TEXT}{'<br>' * (tags - 1)}", ""),
    }
    return {name: (page.encode(), reason) for name, (page, reason) in pages.items()}


def settings(engine: str) -> bytes:
    recipe = Annotate()
    given = Settings(
        engine=engine,
        max_page_bytes=recipe.max_page_bytes,
        max_ratio=recipe.max_ratio,
        language_model=str(find_language_model(PACKAGED_MODEL)),
        language_model_sha256=PACKAGED_MODEL_SHA256,
        paragraph_languages=True,
    )
    return json.dumps(asdict(given)).encode()


def frame(page: bytes) -> bytes:
    header = b'{"media":"html","url":"","charset":""}'
    return len(header).to_bytes(4, "little") + header + page


def read_answer(answer: bytes) -> pa.RecordBatch:
    with pa.ipc.open_stream(answer) as reader:
        return reader.read_next_batch()


@pytest.mark.parametrize("engine", ["main_text", "resiliparse", "trafilatura"])
def test_each_gives_a_text_or_its_reason(engine: str) -> None:
    pages = hostile_pages(0.01)
    answer = read_answer(open_task(settings(engine))(iter(map(frame, (page for page, _ in pages.values())))))
    for name, found, text in zip(
        pages, answer["reason"].to_pylist(), answer["text"].to_pylist(), strict=True
    ):
        expected = "" if engine == "main_text" else pages[name][1]
        if engine == "trafilatura" and not expected:  # what it makes of the others is its own affair
            assert found in ("", "empty_text", "extract_error"), name
            continue
        if name == "misnested" and engine == "main_text":  # all of it is a link
            expected = "empty_text"
        assert (found, "sluice" in text) == (expected, not expected), name


def test_larger_ones_are_refused_by_their_size_and_tags() -> None:
    task = open_task(settings("main_text"))
    answer = read_answer(task(map(frame, [b"x" * 16_000_001, b"<b>" * 200_001, b"<p>a" * 33_000])))
    assert answer["reason"].to_pylist() == ["page_too_large", "too_many_tags", "too_many_blocks"]


@pytest.mark.parametrize(
    ("page", "shape"),
    [
        (b"", (0, 0)),
        (b"no tags < at > all <", (0, 0)),
        (b"<div><p a=1 b='2>' c>x</div><br/><b><i>", (2, 3)),
        (b"<div><!-- <u><u><u> --><script>'<u><u>'</script><style>u>u{}</style></div>", (1, 0)),
        (b"<ul>" + b"<li>x<p>y" * 50 + b"</ul>", (1, 0)),
        (b"<DIV CLASS=a\tID = \"b c\" disabled/></DIV><svg><path d='M 0 1' /></svg>", (1, 3)),
        (b"<a href=x?a=b&c=d>" * 3 + b"</a></a></a></a><b>", (3, 1)),
        (b"<script>never closed <b><b><b>", (0, 0)),
        (b"<p a='<div><div>'><!-- open <div>", (0, 1)),
        (b"<h1><h2></h2></h1><blockquote><blockquote>", (2, 0)),
    ],
)
def test_shape(page: bytes, shape: tuple[int, int]) -> None:
    assert measure_shape(page) == shape


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["main_text", "resiliparse"])
def test_the_largest_stay_within_the_limits_of_a_recipe(engine: str) -> None:
    recipe = Annotate()
    limits = Limits(cpu_seconds=recipe.cpu_seconds, memory_bytes=recipe.memory_bytes)
    with Sandbox("pipeline.annotate.page:open_task", settings(engine), limits=limits) as sandbox:
        sandbox.run([frame(b"<p>first")])
        for name, (page, reason) in hostile_pages(1).items():
            [(_, answer)] = sandbox.run([frame(page)])
            assert isinstance(answer, bytes), (name, answer)
            expected = "" if engine == "main_text" else reason
            assert read_answer(answer)["reason"].to_pylist()[0] in (expected, "empty_text"), name


def real_pages() -> list[bytes]:
    pages: list[bytes] = []
    for name in ("pool-en.warc.gz", "pool-zh.warc.gz"):
        archive = DATA / "warc" / name
        if not archive.exists():
            pytest.skip("the pools of shared/data are not beside this checkout")
        from warcio.archiveiterator import ArchiveIterator

        with archive.open("rb") as file:
            responses = (record for record in ArchiveIterator(file) if record.rec_type == "response")
            bodies = [
                response.content_stream().read() for response, _ in zip(responses, range(150), strict=False)
            ]
        pages += [body for body in bodies if len(body) < 60_000][::3]
    return pages


def mutated(pages: list[bytes], count: int) -> Iterator[bytes]:
    """Frames of real pages with bytes changed, put in, doubled, taken out, in any charset."""
    draw = random.Random(11)
    pieces = [
        b"<",
        b'"',
        b"<!--",
        b"<script>",
        b"<div>",
        b"</p>",
        b"&#x",
        b"\0",
        b"\xff\xfe",
        b"\x1b$B",
        b"~{",
    ]
    for _ in range(count):
        page = bytearray(draw.choice(pages))
        if draw.random() < 0.2:
            page = bytearray(
                page.decode("utf-8", "replace").encode(draw.choice(["gb18030", "cp1251"]), "ignore")
            )
        for _ in range(draw.randrange(1, 12)):
            at = draw.randrange(len(page) + 1)
            kind = draw.randrange(4)
            if kind == 0:
                page[at:at] = draw.choice(pieces) * draw.choice((1, 1, 40))
            elif kind == 1:
                page[at:at] = draw.randbytes(draw.randrange(40))
            elif kind == 2:
                del page[at : at + draw.randrange(300)]
            else:
                page[at:at] = page[at : at + draw.randrange(2000)]
        yield frame(bytes(page))


@pytest.mark.slow
def test_memory_stays_flat_over_mutated_pages() -> None:
    """The whole way of a page: charset, extraction, normal form, language."""
    task = open_task(settings("main_text"))
    process, early, read = psutil.Process(), 0, 0
    frames = mutated(real_pages(), FUZZ_PAGES)
    while group := list(islice(frames, 100)):
        assert read_answer(task(iter(group))).num_rows == len(group)
        read += len(group)
        if read <= min(1000, FUZZ_PAGES // 2):
            early = process.memory_info().rss
    late = process.memory_info().rss
    print(f"{read} pages: {early / 1e6:.0f} MB after the first, {late / 1e6:.0f} MB at the end")
    assert late - early < 100_000_000
