import json
from dataclasses import asdict
from typing import Any

import pyarrow as pa
import pytest

from pipeline.annotate import page
from pipeline.annotate.language import PACKAGED_MODEL, PACKAGED_MODEL_SHA256, find_language_model
from pipeline.annotate.page import STAGES, Settings, open_task
from pipeline.sandbox import Limits, Sandbox

SETTINGS = Settings(
    engine="resiliparse",
    max_page_bytes=100_000,
    max_ratio=100,
    language_model=str(find_language_model(PACKAGED_MODEL)),
    language_model_sha256=PACKAGED_MODEL_SHA256,
    max_tags=5_000,
)
STORY = "<p>The water runs through the sluice, the gold stays behind and the gravel goes with it.</p>" * 5
HTML = f"<html><head><title>Gold\n &amp; gravel</title></head><body><article>{STORY}</article></body></html>"
CHINESE = "<title>黄金</title><article>" + "<p>水流过水槽，黄金留下，砾石被冲走，什么都没有悄悄丢失。</p>" * 5
HTTP = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=gb2312\r\n\r\n"


def frame(media: str, payload: bytes, *, charset: str = "", url: str = "") -> bytes:
    header = json.dumps({"media": media, "url": url, "charset": charset}).encode()
    return len(header).to_bytes(4, "little") + header + payload


def encode(settings: Settings, **changes: Any) -> bytes:
    return json.dumps(asdict(settings) | changes).encode()


def run(frames: list[bytes]) -> pa.RecordBatch:
    with pa.ipc.open_stream(open_task(encode(SETTINGS))(iter(frames))) as reader:
        [batch] = list(reader)
    assert batch.num_rows == len(frames)
    return batch


def test_each_kind_of_record_becomes_text() -> None:
    batch = run(
        [
            frame("http", HTTP + CHINESE.encode("gb18030")),
            frame("html", HTML.encode(), url="https://example.org/"),
            frame("text", "Ein\u00a0Satz auf Deutsch,\r\nder so bleibt, wie er geschrieben wurde.".encode()),
        ]
    )
    assert batch["reason"].to_pylist() == ["", "", ""]
    assert batch["charset"].to_pylist() == ["gb18030", "utf-8", "utf-8"]
    assert batch["title"].to_pylist() == ["黄金", "Gold & gravel", ""]
    assert batch["language"].to_pylist() == ["zh", "en", "de"]
    assert batch["http_status"].to_pylist() == [200, 0, 0]
    texts = batch["text"].to_pylist()
    assert texts[0].count("黄金留下") == 5 and texts[1].count("gold stays") == 5
    assert texts[2] == "Ein Satz auf Deutsch,\nder so bleibt, wie er geschrieben wurde."
    assert min(batch["language_score"].to_pylist()) > 5000


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (frame("http", b"HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\n\r\ngone"), "http_status"),
        (frame("http", b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n\r\n\x89PNG"), "not_html"),
        (frame("http", b"no response"), "bad_http"),
        (frame("html", b"x" * 100_001), "page_too_large"),
        (frame("text", b"x" * 100_001), "page_too_large"),
        (frame("html", b"%PDF-1.4"), "undecodable"),
        (frame("html", b"<p>" * 5_001), "too_many_tags"),
        (frame("html", b"<script>1</script>"), "empty_text"),
        (frame("html", b""), "empty_text"),
        (frame("text", " \u200b\n\u3000".encode()), "empty_text"),
    ],
)
def test_each_reason(record: bytes, reason: str) -> None:
    batch = run([frame("html", HTML.encode()), record, frame("html", HTML.encode())])
    assert batch["reason"].to_pylist() == ["", reason, ""]
    assert batch["text"].to_pylist()[1] == "" and batch["language"].to_pylist()[1] == ""


def test_an_exception_in_the_engine_is_one_record_s_affair(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail_on_bad(text: str, url: str) -> tuple[str, str]:
        if "bad" in text:
            raise ValueError("no\x1b[31m " + "x" * 500)
        return text, ""

    monkeypatch.setitem(page.ENGINES, "resiliparse", fail_on_bad)
    batch = run([frame("html", b"bad"), frame("html", b"good")])
    assert batch["reason"].to_pylist() == ["extract_error", ""]
    [detail, _] = batch["detail"].to_pylist()
    assert detail.startswith("ValueError: no?[31m xxx") and len(detail) == 200


def test_a_page_that_the_engine_refuses_has_the_engine_s_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(text: str, url: str) -> tuple[str, str]:
        if text != "<p>":
            raise page.PageRefused("too_many_blocks")
        return "", ""

    monkeypatch.setitem(page.ENGINES, "resiliparse", refuse)
    batch = run([frame("html", b"any")])
    assert batch["reason"].to_pylist() == ["too_many_blocks"]


def test_running_out_of_memory_is_left_to_the_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhaust(text: str, url: str) -> tuple[str, str]:
        if text != "<p>":
            raise MemoryError
        return "", ""

    monkeypatch.setitem(page.ENGINES, "resiliparse", exhaust)
    with pytest.raises(MemoryError):
        run([frame("html", b"any")])


def test_what_a_page_declares_stands_in_columns() -> None:
    head = '<html lang="en-GB"><meta name="author" content="Ann Lee"><meta name="date" content="2024-05-31">'
    response = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Language: de\r\n\r\n"
    batch = run([frame("html", (head + HTML).encode()), frame("http", response + HTML.encode())])
    assert batch["author"].to_pylist() == ["Ann Lee", ""]
    assert batch["published"].to_pylist() == ["2024-05-31", ""]
    assert batch["declared_language"].to_pylist() == ["en-gb", "de"]


def test_stored_text_that_begins_like_something_else_stays_text() -> None:
    [text] = run([frame("text", b"%PDF-1.4 is how PDF files begin.")])["text"].to_pylist()
    assert text.startswith("%PDF")


def test_text_in_another_charset_is_decoded() -> None:
    sentence = "水流过水槽，黄金留下，砾石被冲走。" * 4
    batch = run([frame("text", sentence.encode("gb18030"))])
    assert batch["text"].to_pylist() == [sentence] and batch["charset"].to_pylist() == ["gb18030"]


def test_grouping_changes_nothing_but_the_timings() -> None:
    frames = [
        frame("html", HTML.encode()),
        frame("http", HTTP + CHINESE.encode("gb18030")),
        frame("html", b""),
    ]
    together = run(frames)
    alone = pa.concat_batches([run([one]).replace_schema_metadata(None) for one in frames])
    assert together.replace_schema_metadata(None) == alone
    assert set(together.schema.metadata) == {stage.encode() for stage in STAGES}
    assert all(int(nanoseconds) >= 0 for nanoseconds in together.schema.metadata.values())


def test_paragraphs_are_judged_if_asked_for() -> None:
    chinese = "水流过水槽，黄金留下，砾石被冲走，什么都没有悄悄丢失。" * 3
    english = "The water runs through the sluice, and the gold stays behind. " * 9
    record = frame("text", f"{english}\n\n{chinese}".encode())
    counts = {}
    for asked in (False, True):
        task = open_task(encode(SETTINGS, paragraph_languages=asked))
        with pa.ipc.open_stream(task(iter([record, frame("html", b"")]))) as reader:
            batch = reader.read_next_batch()
        names = ("paragraph_language_characters", "judged_paragraph_characters")
        counts[asked] = [batch[name].to_pylist() for name in names]
        assert batch["language"].to_pylist() == ["en", ""]
    judged = len(english.strip()) + len(chinese)
    assert counts == {False: [[0, 0], [0, 0]], True: [[len(english.strip()), 0], [judged, 0]]}


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(KeyError):
        open_task(encode(SETTINGS, engine="magic"))
    with pytest.raises(TypeError, match="coments"):
        open_task(encode(SETTINGS, coments=True))
    with pytest.raises(ValueError, match="sha256"):
        open_task(encode(SETTINGS, language_model_sha256="0" * 64))


@pytest.mark.parametrize("engine", ["main_text", "resiliparse", "trafilatura"])
def test_in_the_sandbox(engine: str) -> None:
    settings = encode(SETTINGS, engine=engine, max_page_bytes=10_000_000, max_tags=10_000_000)
    limits = Limits(cpu_seconds=1.0, memory_bytes=1 << 30)
    with Sandbox("pipeline.annotate.page:open_task", settings, limits=limits) as sandbox:
        [(_, answer)] = sandbox.run([frame("html", HTML.encode())] * 3)
    assert isinstance(answer, bytes)
    with pa.ipc.open_stream(answer) as reader:
        assert reader.read_next_batch()["language"].to_pylist() == ["en"] * 3
