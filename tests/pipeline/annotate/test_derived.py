"""Signatures and planted copies of a part: what is written, counted and left out."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.annotate.derived import SIGNATURES, DerivedWriters, sign, text_keys
from pipeline.annotate.digests import text_digests
from pipeline.kernels.planted import plant
from pipeline.kernels.shingles import Shingling
from pipeline.ledger import Count
from pipeline.parts import PartWriter, read_batches
from pipeline.phase import Job, Row, commit, need_rows
from pipeline.recipe_file import load_recipe
from pipeline.timings import Timings
from tokenizer_build.vocabulary import find_vocabulary, load_ranks

VOCABULARY = "sluice-32k"


def make_job(folder: Path, *settings: str) -> Job:
    hashes = {VOCABULARY: load_ranks(find_vocabulary(VOCABULARY), sha256=None)[0].sha256}
    return Job(str(folder), load_recipe("quickstart", settings), hashes, parts=1, partitions=1)


def make_batch(texts: list[str]) -> pa.RecordBatch:
    ids = [hashlib.blake2b(b"%d" % number, digest_size=16).digest() for number in range(len(texts))]
    text = pa.array(texts)
    return pa.record_batch(
        [pa.array(ids, pa.binary(16)), text, text_digests(text)], names=["id", "text", "text_digest"]
    )


def derive(job: Job, batches: list[pa.RecordBatch]) -> tuple[Row, pa.Table, pa.Table]:
    """The commit row of work/signatures, the signatures, the planted copies."""
    with job.storage().scratch() as scratch:
        stored = PartWriter(scratch, "documents", 0, batches[0].schema)
        derived = DerivedWriters(job, job.recipe.sources[0], 0, scratch, (SIGNATURES,))
        for batch in batches:
            stored.write(batch)
            derived.write(batch, Timings())
        documents = commit(job, "documents", 0, made_of="x", files=[stored.finish()], count=Count())
        derived.commit(documents, Timings())
    row = need_rows(job, SIGNATURES, [0])[0]
    signed, planted = (
        pa.Table.from_batches(list(read_batches(job.storage(), row.file(folder))))
        for folder in (SIGNATURES, "work/planted")
    )
    return row, signed, planted


def write_texts(count: int, words: int = 60) -> list[str]:
    rng = np.random.default_rng(2)
    return [" ".join(f"word{n}" for n in rng.integers(0, 10**6, words)) for _ in range(count)]


@pytest.mark.parametrize("unit", ["words", "characters", "tokens"])
def test_planted_copies_are_those_of_the_kernel_and_measured_as_sets(unit: str, tmp_path: Path) -> None:
    job = make_job(tmp_path, f"minhash.unit={unit}", "minhash.shingle=5")
    batch = make_batch(write_texts(40))
    row, signed, planted = derive(job, [batch.slice(0, 7), batch.slice(7)])
    rows = planted["row"].to_pylist()
    assert rows[:32] == list(range(32)) and len(rows) == row.notes["planted"] < 36
    chosen = batch.take(pa.array(rows))
    copies, levels = plant(chosen["text"], chosen["id"], Shingling(unit, 5, 500_000), seed=job.recipe.seed)
    assert planted["level"].to_pylist() == levels.tolist()
    assert planted["signature"].to_pylist() == sign(job, copies)["signature"].to_pylist()
    assert planted["digest"].to_pylist() == text_digests(copies).to_pylist()
    assert (row.notes["signed"], row.notes["short"], row.notes["capped"]) == (40, 0, 0)
    assert signed.num_rows == 40
    if unit == "words":
        for text, copy, ppm in zip(
            chosen["text"].to_pylist(), copies.to_pylist(), planted["jaccard_ppm"], strict=True
        ):
            one, other = (
                {tuple(words[at : at + 5]) for at in range(len(words) - 4)}
                for words in (text.split(), copy.split())
            )
            assert ppm.as_py() == len(one & other) * 1_000_000 // len(one | other)


def test_what_is_shorter_than_a_shingle_is_not_planted(tmp_path: Path) -> None:
    """Neither where the copy is, nor where only the copy is long enough."""
    short = ["one two three four"] * 20
    row, signed, planted = derive(
        make_job(tmp_path), [make_batch([*short, "", "one two three four five six"])]
    )
    assert signed["short"].to_pylist() == [True] * 20 + [False, False]
    assert set(planted["row"].to_pylist()) <= {21}
    assert row.notes == {"signed": 1, "short": 20, "capped": 0, "planted": planted.num_rows, "texts": 1}


def test_texts_are_counted_by_what_they_send(tmp_path: Path) -> None:
    """Equal letters in other words send other bands; other case and punctuation send the same."""
    texts = ["ab cd ef gh ij kl", "abcd ef gh ij k l", "AB, cd ef gh ij KL!", "ab cd ef gh ij kl", "a b"]
    job = make_job(tmp_path)
    row, signed, _ = derive(job, [make_batch(texts[:2]), make_batch(texts[2:])])
    assert len(set(signed["fold_digest"].to_pylist()[:4])) == 1
    keys = text_keys(signed.combine_chunks().to_batches()[0])
    assert len(keys) == 4 and keys[0] == keys[2] == keys[3] != keys[1]
    assert row.notes["texts"] == 2


def test_another_seed_plants_other_copies(tmp_path: Path) -> None:
    batch = make_batch(write_texts(40))
    job = make_job(tmp_path)
    first, _, planted = derive(job, [batch])
    second, _, others = derive(replace(job, recipe=replace(job.recipe, seed=9)), [batch])
    assert first.fingerprint != second.fingerprint and not planted.equals(others)
