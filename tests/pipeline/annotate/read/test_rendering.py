"""Records of the instruction sets that people have become paragraphs, whole or not at all."""

import json
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.annotate.read.rendering import render_record
from pipeline.config import RecipeError
from pipeline.recipe_file import recipe_from_tree

ALPACA_FIELDS = {"text": ("instruction", "input", "output"), "id": "", "url": "", "date": ""}
OPENAI_FIELDS = {"messages": "messages", "id": "id", "url": "", "date": ""}
SHAREGPT_FIELDS = {"messages": "conversations", "id": "id", "url": "", "date": ""}

ALPACA = [
    {"instruction": "Give three tips.", "input": "", "output": "1. Eat.\n2. Sleep.\n3. Walk."},
    {"instruction": "翻译成英文。", "input": "你好", "output": "Hello"},
    {"instruction": "Classify.", "input": None, "output": "A\n"},
]
ALPACA_TEXTS = [
    "Give three tips.\n\n1. Eat.\n2. Sleep.\n3. Walk.",
    "翻译成英文。\n\n你好\n\nHello",
    "Classify.\n\nA",
]
OPENAI = {
    "id": "a1",
    "messages": [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": "What is 2 + 2?"},
        {"role": "assistant", "content": "4"},
        {"role": "user", "content": "  "},
        {"role": "assistant", "content": "Anything else?\n"},
    ],
}
SHAREGPT = {
    "id": "a1",
    "conversations": [
        {"from": "system", "value": "You are a helpful assistant."},
        {"from": "human", "value": "What is 2 + 2?"},
        {"from": "gpt", "value": "4"},
        {"from": "human", "value": ""},
        {"from": "gpt", "value": "Anything else?"},
    ],
}
QUESTIONS = {"user": "Question: ", "assistant": "Answer: "}


def write(path: Path, rows: list[dict], format: str) -> Path:
    if format == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path


def texts(reading) -> list[str]:
    return [record.payload.decode() for record in reading.records]


SAID = ["What is 2 + 2?", "4", "Anything else?"]
SYSTEM = "You are a helpful assistant."
LABELLED = ["Question: What is 2 + 2?", "Answer: 4", "Answer: Anything else?"]


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
@pytest.mark.parametrize("split_bytes", [1 << 30, 90])
def test_alpaca(read_file, tmp_path, format, split_bytes):
    path = write(tmp_path / "alpaca", ALPACA, format)
    reading = read_file(path, format=format, fields=ALPACA_FIELDS, split_bytes=split_bytes)
    assert texts(reading) == ALPACA_TEXTS and not reading.skips


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
@pytest.mark.parametrize(
    ("row", "fields"), [(OPENAI, OPENAI_FIELDS), (SHAREGPT, SHAREGPT_FIELDS)], ids=["openai", "sharegpt"]
)
@pytest.mark.parametrize(
    ("roles", "expected"),
    [
        ({}, SAID),
        (QUESTIONS, LABELLED),
        ({"system": ""}, [SYSTEM, *SAID]),
        (QUESTIONS | {"system": "System: "}, [f"System: {SYSTEM}", *LABELLED]),
    ],
    ids=["plain", "prefixes", "system", "all"],
)
def test_conversations(read_file, tmp_path, format, row, fields, roles, expected):
    path = write(tmp_path / "chat", [row, row], format)
    reading = read_file(path, format=format, fields=fields | {"roles": roles})
    assert texts(reading) == ["\n\n".join(expected)] * 2
    assert [record.source_id for record in reading.records] == ["a1", "a1"]


def test_the_role_as_the_file_has_it_comes_first():
    record = {"c": [{"from": "human", "value": "Hi"}, {"from": "observation", "value": "{}"}]}
    fields = {"messages": "c", "roles": {"human": "H: ", "user": "U: ", "observation": "Tool: "}}
    assert render_record(record, fields) == ("H: Hi\n\nTool: {}", "")


BAD_MESSAGES = [
    None,
    "user: hello",
    {"role": "user", "content": "x"},
    ["hello"],
    [{"role": "user"}],
    [{"content": "x"}],
    [{"role": "user", "content": None}],
    [{"role": "user", "content": 5}],
    [{"role": 1, "content": "x"}],
    [{"role": "user", "value": "x"}],
    [{"role": "user", "content": [{"type": "text", "text": "parts"}]}],
    [{"role": "user", "content": "fine"}, {"role": "assistant", "content": None, "tool_calls": []}],
]


@pytest.mark.parametrize("messages", BAD_MESSAGES)
def test_malformed_messages_are_set_aside_whole(read_file, tmp_path, messages):
    good, bad = OPENAI, {"id": "bad", "messages": messages}
    path = write(tmp_path / "chat", [good, bad, {"id": "none"}, good], "jsonl")
    reading = read_file(path, format="jsonl", fields=OPENAI_FIELDS)
    assert len(reading.records) == 2 and reading.reasons == ["bad_messages"] * 2
    assert json.loads(reading.skips[0].raw) == bad and reading.skips[0].quarantine


@pytest.mark.parametrize(
    "column",
    [
        pa.array([None, "text"]),
        pa.array([["a"], ["b"]]),
        pa.array([[{"role": "user", "content": 5}], [{"role": "user", "content": None}]]),
        pa.array([[{"role": "user", "content": ["part"]}], [{"role": None, "content": ["part"]}]]),
        pa.array([[("user", "x")], [("user", "y")]], pa.map_(pa.string(), pa.string())),
    ],
    ids=["string", "strings", "number", "parts", "map"],
)
def test_malformed_columns_are_set_aside(read_file, tmp_path, column):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"messages": column}), path)
    reading = read_file(path, format="parquet", fields=OPENAI_FIELDS)
    assert reading.reasons == ["bad_messages"] * 2 and not reading.records
    pq.write_table(pa.table({"other": [1, 2]}), path)
    assert read_file(path, format="parquet", fields=OPENAI_FIELDS).reasons == ["bad_messages"] * 2


def test_mixed_keys_of_parquet_and_bytes(read_file, tmp_path):
    """Structs have every key of any message; text may be binary; what is not UTF-8 costs its own row."""
    both = [[{"role": "user", "content": "a"}, {"from": "gpt", "value": "b"}]]
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"messages": both}), path)
    assert texts(read_file(path, format="parquet", fields=OPENAI_FIELDS)) == ["a\n\nb"]
    binary = pa.array([b"ok", b"\xff", "文".encode()], pa.binary())
    pq.write_table(
        pa.table({"instruction": binary, "input": ["", "", "x"], "output": ["1", "2", "y" * 500]}), path
    )
    reading = read_file(path, format="parquet", fields=ALPACA_FIELDS, max_record_bytes=400)
    assert (texts(reading), reading.reasons) == (["ok\n\n1"], ["not_utf8", "record_too_large"])
    assert [skip.offset for skip in reading.skips] == [1, 2]


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_a_field_that_is_not_there_is_missing_not_empty(read_file, tmp_path, format):
    """A misspelt name must not silently halve every record."""
    path = write(tmp_path / "alpaca", [{"instruction": "a", "output": "b"}], format)
    assert read_file(path, format=format, fields=ALPACA_FIELDS).reasons == ["missing_text"]
    path = write(tmp_path / "alpaca", [{"instruction": "a", "input": 5, "output": "b"}], format)
    assert read_file(path, format=format, fields=ALPACA_FIELDS).reasons == ["missing_text"]
    path = write(tmp_path / "alpaca", [{"instruction": "", "input": " ", "output": None}], format)
    assert texts(read_file(path, format=format, fields=ALPACA_FIELDS)) == [""]  # counted as empty_text later


DATA = Path(__file__).resolve().parents[4] / "../shared/data/alignment.tar.gz"


@pytest.mark.skipif(not DATA.exists(), reason="the alignment set is not on this machine")
@pytest.mark.parametrize(
    ("name", "fields", "set_aside"),
    [
        ("alpaca_en_demo.json", ALPACA_FIELDS, 0),
        ("alpaca_zh_demo.json", ALPACA_FIELDS, 0),
        ("glaive_toolcall_zh_demo.json", SHAREGPT_FIELDS, 0),
        ("kto_en_demo.json", OPENAI_FIELDS, 0),
        ("reason_tool_use_demo_50.jsonl", OPENAI_FIELDS, 50),  # contents are lists of parts
    ],
)
@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_real_sets(read_file, tmp_path, name, fields, set_aside, format):
    with tarfile.open(DATA) as packed:
        member = packed.extractfile(f"alignment/llama_factory_demo/data/{name}")
        assert member is not None
        content = member.read().decode()
    rows = [json.loads(line) for line in content.splitlines()] if name.endswith("l") else json.loads(content)
    names = [*fields["text"]] if "text" in fields else [fields["messages"]]
    rows = [{key: row[key] for key in names} for row in rows]
    reading = read_file(write(tmp_path / "set", rows, format), format=format, fields=fields)
    assert len(reading.skips) == set_aside and len(reading.records) == len(rows) - set_aside
    for row, text in zip(rows, texts(reading), strict=False):
        parts = (
            row.values() if "text" in fields else [m.get("content", m.get("value")) for m in row[names[0]]]
        )
        left = [part for part in parts if part.strip()]
        assert all(part.strip("\r\n") in text for part in left[-2:])


@pytest.mark.parametrize(
    ("fields", "format", "words"),
    [
        ({"text": []}, "jsonl", ["fields.text names no field"]),
        ({"text": ""}, "jsonl", ["fields.text names no field"]),
        ({"text": ["a", "a"]}, "jsonl", ["each once"]),
        ({"text": ["a", 5]}, "jsonl", ["fields.text", "must be str"]),
        ({"text": 5}, "jsonl", ["fields.text", "must be"]),
        ({"text": ["a", "b"], "messages": "m"}, "jsonl", ["fields.messages", "remove one"]),
        ({"roles": {"user": "Q: "}}, "jsonl", ["fields.roles", "fields.messages"]),
        ({"messages": "m", "roles": {"user": 5}}, "jsonl", ["fields.roles.user must be str"]),
        ({"mesages": "m"}, "jsonl", ["'messages'"]),
        ({"messages": "m"}, "text", ["a text record has no fields"]),
    ],
)
def test_impossible_fields_are_refused(fields, format, words):
    source = {"name": "chat", "kind": "instruction", "format": format, "paths": ["x"], "fields": fields}
    with pytest.raises(RecipeError) as raised:
        recipe_from_tree({"name": "test", "sources": [source]})
    assert all(word in str(raised.value) for word in words)
