"""Evaluation sets out of files, the index of them, and what documents share with it."""

import csv
import gzip
import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.annotate.decontaminate import (
    EvaluationIndex,
    examples_of,
    find_overlaps,
    index_digest,
    index_sets,
    open_index,
    save_index,
)
from pipeline.annotate.evaluation_files import read_examples
from pipeline.annotate.splits import list_input_files
from pipeline.config import Decontaminate, EvaluationSet, RecipeError
from pipeline.storage import Storage

FIRST = "which of the seven lamps on the quay was lit before the bell rang twice that night"  # 17 words
SECOND = "how many sacks of barley can the miller of Oss carry over the narrow bridge in one morning"  # 18
RECORDS = [
    {"question": FIRST, "choices": ["the red one", "the green one"], "answer": 1},
    {"question": "too short", "choices": {"text": ["a", "b"]}, "answer": None},
    {"question": SECOND, "choices": [], "answer": FIRST.upper()},
]


def write(folder: Path, format: str, records: list[dict]) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"questions.{format}"
    if format.startswith("jsonl"):
        content = "\ufeff" + "\n\n".join(json.dumps(record) for record in records) + "\n"
    elif format.startswith("csv"):
        held = io.StringIO()
        writer = csv.DictWriter(held, list(records[0]))
        writer.writeheader()
        writer.writerows(records)
        content = held.getvalue()
    else:
        pq.write_table(pa.Table.from_pylist(records), path)
        return str(path)
    path.write_bytes(gzip.compress(content.encode()) if format.endswith(".gz") else content.encode())
    return str(path)


def set_of(path: str, format: str, fields: tuple[str, ...], name: str = "quiz") -> EvaluationSet:
    return EvaluationSet(name, (path,), format.removesuffix(".gz"), fields)


def index_of(*sets: EvaluationSet, ngram: int = 13, whole_from: int = 0) -> EvaluationIndex:
    files = {of_set.name: list_input_files(of_set.paths) for of_set in sets}
    return index_sets(Decontaminate(ngram, whole_from, kinds=("all",), sets=sets), files)


@pytest.mark.parametrize("format", ["jsonl", "jsonl.gz", "parquet", "csv", "csv.gz"])
def test_all_formats_say_the_same(format: str, tmp_path: Path) -> None:
    records = [{"question": record["question"], "answer": str(record["answer"])} for record in RECORDS]
    records[1]["question"] = "two\nlines"
    of_set = set_of(write(tmp_path, format, records), format, ("question", "answer"))
    examples = list(read_examples(of_set, list_input_files(of_set.paths)))
    assert [example.texts for example in examples] == [[r["question"], r["answer"]] for r in records]
    lines = {"jsonl": [1, 3, 5], "csv": [2, 3, 5], "parquet": [1, 2, 3]}
    assert [example.line for example in examples] == lines[of_set.format]


def test_each_text_has_ngrams_of_its_own_and_the_short_are_counted(tmp_path: Path) -> None:
    path = write(tmp_path, "jsonl", RECORDS)
    one = set_of(path, "jsonl", ("question", "choices", "answer"), "one")
    two = set_of(path, "jsonl", ("question",), "two")
    index = index_of(one, two)
    assert index.set_of.tolist() == [0, 0, 0, 1, 1, 1] and index.line_of.tolist() == [1, 3, 5] * 2
    assert len(index.ngrams.keys) == (17 - 12) + (18 - 12)  # none goes from one text into the next
    assert index.set_ngrams.tolist() == [11, 11] and index.set_short.tolist() == [1, 1]
    _, examples = examples_of(index, index.ngrams.keys)
    assert np.bincount(examples).tolist() == [
        5,
        0,
        11,
        5,
        0,
        6,
    ]  # the answer of the third is the first question
    whole = index_of(one, whole_from=5)
    assert len(whole.ngrams.keys) == 11  # "the red one" has three words
    assert index_of(one, ngram=17).set_ngrams.tolist() == [1 + 2]


def test_spans_join_within_a_set_and_stay_apart_between_sets(tmp_path: Path) -> None:
    one = set_of(write(tmp_path / "1", "jsonl", RECORDS[:1]), "jsonl", ("question",), "one")
    half = " ".join(FIRST.split()[:14])
    two = set_of(write(tmp_path / "2", "jsonl", [{"question": half}]), "jsonl", ("question",), "two")
    index = index_of(one, two)
    text = f"Né: “{FIRST.title()}”? {half}; {FIRST}"
    found = find_overlaps(pa.array(["nothing", text, None]), index)
    assert found.hits.to_pylist() == [0, 5 + 2 + 5, 0]
    content = text.encode()
    assert [
        (span["set"], content[span["start"] : span["end"]].decode()) for span in found.spans.to_pylist()[1]
    ] == [(0, FIRST.title()), (1, half.title()), (0, half), (1, half), (0, FIRST), (1, half)]
    assert found.spans.to_pylist()[::2] == [[], []]
    assert found.found["row"].to_pylist() == [1] * 12
    assert set(found.found["key"].to_pylist()) == set(index.ngrams.keys.tolist())


def test_the_saved_index_is_the_same_and_its_digest_is_of_what_it_says(tmp_path: Path) -> None:
    one = set_of(write(tmp_path / "1", "jsonl", RECORDS), "jsonl", ("question",))
    index = index_of(one)
    digest = index_digest(index)
    storage = Storage.open(str(tmp_path / "run"))
    save_index(storage, index, digest)
    again = open_index(str(tmp_path / "run"), digest)
    assert index_digest(again) == digest == index_digest(index_of(one))
    assert again._fields == index._fields and index.ngrams.keys.dtype == again.ngrams.keys.dtype
    batch = pa.array([FIRST, SECOND])
    assert find_overlaps(batch, again).spans.equals(find_overlaps(batch, index).spans)
    moved = set_of(write(tmp_path / "2", "jsonl", RECORDS), "jsonl", ("question",))
    assert index_digest(index_of(moved)) == digest
    assert index_digest(index_of(one, ngram=12)) != digest
    other = set_of(write(tmp_path / "3", "jsonl", RECORDS[:2]), "jsonl", ("question",))
    assert index_digest(index_of(other)) != digest


def test_without_an_index_nothing_is_found() -> None:
    found = find_overlaps(pa.array(["a", None]), None)
    assert found.hits.to_pylist() == [0, 0] and found.spans.to_pylist() == [[], []]
    assert found.found.num_rows == 0


@pytest.mark.parametrize(
    ("format", "content", "words"),
    [
        ("jsonl", b'{"question": "a"}\n{"question": \n', ["questions.jsonl, line 2 is no JSON"]),
        ("jsonl", b'{"question": "a"}\n\n["b"]\n', ["line 3 is no JSON object"]),
        ("jsonl", b'{"question": "\xff"}\n', ["line 1 is no JSON"]),
        ("jsonl", b"\n\n", ["no example"]),
        ("jsonl", b'{"questions": "a", "id": 1}\n', ["fields", "questions, id", "'questions'?"]),
        ("csv", b"question,answer\na,b\nc\n", ["line 3 has 1 values, the heading 2"]),
        ("csv", b'question,answer\na,b\n"c,d\n', ["behind line 2"]),
        ("csv", b"question,answer\na,\xff\n", ["questions.csv"]),
        ("csv", b"id,answer\na,b\n", ["no record has 'question'", "id, answer"]),
        ("jsonl.gz", b"no gzip", ["questions.jsonl.gz, behind line 0"]),
        (
            "jsonl.gz",
            gzip.compress(b'{"question": "a"}\n' * 9, mtime=0)[:-9],
            ["questions.jsonl.gz, behind line"],
        ),
        ("parquet", b"no parquet", ["questions.parquet, behind line 0"]),
    ],
)
def test_nothing_is_passed_over_in_silence(
    format: str, content: bytes, words: list[str], tmp_path: Path
) -> None:
    path = tmp_path / f"questions.{format}"
    path.write_bytes(content)
    with pytest.raises(RecipeError) as raised:
        index_of(set_of(str(path), format, ("question",)))
    for word in ["decontaminate.sets.quiz", *words]:
        assert word in str(raised.value)
