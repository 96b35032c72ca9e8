"""The end of Decide: tokens of what is kept, counted by source, and the mixture frozen from them.

Each kept document is encoded once, here; Pack deals out copies of these tokens.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict

import numpy as np
import pyarrow as pa

from pipeline import schema
from pipeline.decide.edits import apply_edits
from pipeline.decide.mixture import MICRO, rehydration
from pipeline.decide.repeats_step import edits_of_part
from pipeline.decide.shares import mix
from pipeline.decide.survivors import stands_for_itself
from pipeline.decide.takedowns import Aside, has_takedowns, takedown_columns
from pipeline.decide.thresholds import cuts_questions
from pipeline.ledger import IN, OUT, Count
from pipeline.pack.encode import encoding, load_encoder
from pipeline.pack.exchange import plan_dealing
from pipeline.pack.shards import number_of_shards
from pipeline.parts import PartWriter, read_batches
from pipeline.phase import Job, Step, commit, fingerprint, is_done, need_rows, read_row, read_rows
from pipeline.timings import Timings

_VERSION = 3
SPLITS = ("train", "validation")
_READ = ("documents", "measures", "decisions", "clusters")


def _plan_encoded(job: Job) -> Iterator[tuple[int, bytes]]:
    parts = range(job.parts)
    steps = [need_rows(job, step, parts) for step in _READ]
    rehydrate, cuts = job.recipe.decide.rehydrate, cuts_questions(job.recipe.decontaminate)
    repeats = need_rows(job, "work/repeats", parts if job.recipe.decide.repeated != "none" else [])
    for part, *upstream, done in zip(parts, *steps, read_rows(job, "work/encoded", parts), strict=True):
        vocabulary = job.hashes[job.recipe.pack.vocabulary]
        contents = [row.content for row in (upstream if rehydrate else upstream[:-1])]
        contents += [row.content for row in repeats[part : part + 1]]
        by = encoding(job.recipe.pack.vocabulary)
        made_of = fingerprint(_VERSION, vocabulary, by, contents, rehydrate, cuts)
        if not is_done(job, done, made_of):
            yield part, made_of.encode()


def _finish_encoded(job: Job, part: int, payload: bytes, blocks: Iterable[bytes]) -> None:
    timings, storage, count = Timings(), job.storage(), Count()
    with timings.stage("start"):
        encoder = load_encoder(job.recipe.pack.vocabulary, job.hashes[job.recipe.pack.vocabulary])
    files = [need_rows(job, step, [part])[0].file(step) for step in _READ]
    sizes = [batch[0].to_numpy() for batch in read_batches(storage, files[-1], columns=["cluster_size"])]
    factors = rehydration(np.concatenate([np.empty(0, np.uint32), *sizes]), job.recipe.decide.rehydrate)
    survivor = ["survivor"] if has_takedowns(job) else []
    columns = (["id", "source", "text", *takedown_columns(job)], ["language"])
    columns = (*columns, ["kept", "validation", *survivor])
    aside = Aside()
    edits = edits_of_part(job, part)
    drawn_tokens: Counter[tuple[str, str, bool]] = Counter()
    kept_tokens: Counter[tuple[str, str, bool]] = Counter()
    kept_documents: Counter[tuple[str, str, bool]] = Counter()
    first, empty = 0, 0
    with storage.scratch() as scratch:
        writer = PartWriter(scratch, "work/encoded", part, schema.ENCODED)
        batches = (
            read_batches(storage, file, columns=names)
            for file, names in zip(files[:-1], columns, strict=True)
        )
        for documents, measures, decisions in timings.each("read", zip(*batches, strict=True)):
            kept = decisions["kept"]
            if has_takedowns(job):  # what was taken down is encoded, too, and set aside
                kept = pa.array(stands_for_itself(decisions["survivor"], schema.locator(part, first)))
            rows = np.flatnonzero(kept.to_numpy(zero_copy_only=False)).astype(np.uint32)
            with timings.stage("edits"):
                here = edits.slice(first, documents.num_rows)
                text = apply_edits(documents["text"].filter(kept), here.filter(kept))
            with timings.stage("encode"):
                tokens = encoder.encode_batch(text)
            factor = factors[rows.astype(np.int64) + first]
            arrays = [pa.array(rows + np.uint32(first)), documents["id"].filter(kept)]
            arrays += [decisions["validation"].filter(kept), pa.array(factor.astype(np.uint16))]
            arrays += [measures["language"].filter(kept), tokens]
            encoded = pa.RecordBatch.from_arrays(arrays, schema=schema.ENCODED)
            sources = documents["source"].filter(kept)
            if has_takedowns(job):
                named = documents.select(["id", "source", *takedown_columns(job)]).filter(kept)
                stays = pa.array(aside.set_aside(job, named, encoded))
                encoded, sources = encoded.filter(stays), sources.filter(stays)
            lengths = encoded["tokens"].value_lengths().to_numpy()
            of_group = (encoded[name].to_pylist() for name in ("language", "validation"))
            keys = zip(sources.to_pylist(), *of_group, strict=True)
            empty += int(np.count_nonzero(lengths == 0))
            for key, length, times in zip(keys, lengths.tolist(), encoded["factor"].to_pylist(), strict=True):
                kept_tokens[key] += length
                drawn_tokens[key] += (length + 1) * times  # one <|endoftext|> each
                kept_documents[key] += 1
            count.add("encode", IN, int(decisions["kept"].true_count))
            count.add("encode", OUT, encoded.num_rows, tokens=int(lengths.sum()))
            with timings.stage("write"):
                writer.write(encoded)
            first += documents.num_rows
        notes = {
            "kept": [
                [*key, kept_documents[key], kept_tokens[key], drawn_tokens[key]]
                for key in sorted(kept_tokens)
            ],
            "empty": empty,  # documents of which the edits left nothing
            **aside.notes(),
        }
        commit(
            job,
            "work/encoded",
            part,
            made_of=payload.decode(),
            files=[writer.finish()],
            count=count,
            notes=notes,
        )
    timings.save(storage, "work/encoded", part)


def _plan_mixture(job: Job) -> Iterator[tuple[int, bytes]]:
    repeats = [(source.name, source.repeats, source.weight) for source in job.recipe.sources]
    shape = (job.recipe.pack.row_tokens, job.recipe.pack.shard_rows)
    encoded = [row.notes for row in need_rows(job, "work/encoded", range(job.parts))]
    made_of = fingerprint(_VERSION, repeats, job.recipe.mixture, shape, encoded)
    if not is_done(job, read_row(job, "work/mixture", 0), made_of):
        yield 0, made_of.encode()


def _finish_mixture(job: Job, number: int, payload: bytes, blocks: Iterable[bytes]) -> None:
    timings, count = Timings(), Count()
    kept: Counter[tuple[str, str, str]] = Counter()
    passes: Counter[tuple[str, str]] = Counter()  # tokens of one pass, by source and language
    row_tokens: Counter[str] = Counter()
    for row in need_rows(job, "work/encoded", range(job.parts)):
        for source, language, validation, documents, tokens, drawn in row.notes["kept"]:
            split = "validation" if validation else "train"
            kept[source, split, "documents"] += documents
            kept[source, split, "tokens"] += tokens
            passes[source, language] += 0 if validation else drawn
        if taken := row.notes.get("taken"):  # stays in the mixture, so that all else lies where it lay
            for *_, validation, factor, language, tokens in taken["documents"]:
                passes[taken["source"], language] += 0 if validation else (tokens + 1) * factor
                row_tokens["validation"] += tokens + 1 if validation else 0
    mixed = mix(job.recipe, passes)
    sources = []
    for source in job.recipe.sources:
        facts = {
            f"{split}_{what}": kept[source.name, split, what]
            for split in SPLITS
            for what in ("documents", "tokens")
        }
        sources.append({"name": source.name, **facts})
        mine = [key for key in passes if key[0] == source.name]
        row_tokens["train"] += sum(passes[key] * mixed.repeats[key] for key in mine) // MICRO
        row_tokens["validation"] += facts["validation_tokens"] + facts["validation_documents"]
    dealings = {}
    for split in SPLITS:
        shards = number_of_shards(row_tokens[split], job.recipe.pack.row_tokens, job.recipe.pack.shard_rows)
        dealings[split] = asdict(plan_dealing(job.parts, shards))
    notes = {
        "sources": sources,
        "target": mixed.target,
        "missing": mixed.missing,
        "groups": [
            {
                "group": group.name,
                "tokens": group.tokens,
                "repeats_micro": group.repeats_micro,
                "wanted_micro": round(group.wanted * MICRO),
                "short": group.short,
            }
            for group in mixed.groups
        ],
        "repeats": [[*key, passes[key], micro] for key, micro in mixed.repeats.items()],
        "dealings": dealings,
    }
    commit(job, "work/mixture", 0, made_of=payload.decode(), files=[], count=count, notes=notes)
    timings.save(job.storage(), "work/mixture", 0)


ENCODED = Step("work/encoded", _plan_encoded, _finish_encoded)
MIXTURE = Step("work/mixture", _plan_mixture, _finish_mixture)
