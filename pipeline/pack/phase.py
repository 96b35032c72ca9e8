"""The Pack phase: copies dealt to shards by file, then every shard ordered, joined and cut into rows.

Token shards have fixed names (`tokens/train-00000.arrow`), unlike all other parts: the trainer and formats.md
expect them. So a shard's commit row is deleted before its file is replaced, and put again after it.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from pipeline import schema
from pipeline.decide.mixture import copies as number_of_copies
from pipeline.decide.takedowns import content_before
from pipeline.ledger import IN, OUT, Count
from pipeline.pack.encode import load_vocabulary
from pipeline.pack.exchange import Dealing, write_exchange
from pipeline.pack.gather import gather_stream
from pipeline.pack.shards import write_shard
from pipeline.pack.taken import taken_copies
from pipeline.parts import FinishedFile, PartFile, file_sha256, finished, read_batches
from pipeline.phase import Job, Row, Step, commit, fingerprint, is_done, need_rows, read_rows, row_name
from pipeline.timings import Timings

_VERSION = 3
SPLITS = ("train", "validation")


def shard_number(split: str, shard: int) -> int:
    """The number of a shard's commit row: even for training, odd for validation."""
    return 2 * shard + SPLITS.index(split)


def shard_name(split: str, shard: int) -> str:
    """The name of a shard's file."""
    return f"tokens/{split}-{shard:05d}.arrow"


def planned_shards(job: Job) -> list[tuple[str, int]]:
    """(split, shard) of every shard that may get documents."""
    dealings = need_rows(job, "work/mixture", [0])[0].notes["dealings"]
    return [(split, shard) for split in SPLITS for shard in range(Dealing(**dealings[split]).shards)]


def _shards_left(job: Job) -> dict[tuple[str, int], str]:
    """Shards that have to be made, and their fingerprints. Any shard may get a copy from any part, but what
    was taken down changes only the shards that held it.
    """
    mixture = need_rows(job, "work/mixture", [0])[0].notes
    encoded = need_rows(job, "work/encoded", range(job.parts))
    repeats = [(source, language, micro) for source, language, _, micro in mixture["repeats"]]
    shape = (job.recipe.pack.row_tokens, job.hashes[job.recipe.pack.vocabulary])
    before = [content_before(row) for row in encoded]
    made_of = fingerprint(_VERSION, job.recipe.seed, shape, repeats, mixture["dealings"], before)
    gone: defaultdict[tuple[str, int], list[tuple[str, int]]] = defaultdict(list)
    for taken in taken_copies(encoded, mixture, seed=job.recipe.seed):
        gone[taken.split, taken.shard].append((taken.id, taken.copy))
    planned = planned_shards(job)
    rows = read_rows(job, "work/shards", [shard_number(*shard) for shard in planned])
    wanted = [fingerprint(made_of, sorted(gone[shard])) if shard in gone else made_of for shard in planned]
    of_shards = zip(planned, wanted, rows, strict=True)
    return {shard: made_of for shard, made_of, row in of_shards if not is_done(job, row, made_of)}


# --- exchange: a part's copies, ordered by destination ------------------------------------------------------


def _plan_exchange(job: Job) -> Iterator[tuple[int, bytes]]:
    left = _shards_left(job)
    mixture = need_rows(job, "work/mixture", [0])[0].notes
    parts = range(job.parts)
    encoded, rows = need_rows(job, "work/encoded", parts), read_rows(job, "work/exchange", parts)
    for part, row, done in zip(parts, encoded, rows, strict=True):
        of_source = _repeats_of_part(row, mixture)
        made_of = fingerprint(_VERSION, job.recipe.seed, mixture["dealings"], of_source, part, row.content)
        if done is None or done.fingerprint != made_of:
            yield part, made_of.encode()
            continue
        asked_for = any((split, shard) in left for split, shard, _ in done.notes["pieces"])
        if asked_for and not is_done(job, done, made_of):  # the files are deleted when the shards are there
            yield part, made_of.encode()


def _finish_exchange(job: Job, part: int, payload: bytes, blocks: Iterable[bytes]) -> None:
    timings, storage, count = Timings(), job.storage(), Count()
    mixture = need_rows(job, "work/mixture", [0])[0].notes
    (row,) = need_rows(job, "work/encoded", [part])
    file = row.file("work/encoded")
    with timings.stage("read"):
        whole = pa.Table.from_batches(list(read_batches(storage, file)), schema.ENCODED).combine_chunks()
    encoded = whole.to_batches()[0] if whole.num_rows else pa.RecordBatch.from_pylist([], schema.ENCODED)
    validation = encoded["validation"].to_numpy(zero_copy_only=False)
    source, micro = _repeats_of_part(row, mixture)
    languages = encoded["language"].to_pylist()
    repeats = np.array([micro[language] for language in languages], np.int64)
    repeats *= encoded["factor"].to_numpy().astype(np.int64)
    copies = number_of_copies(encoded["id"], repeats, seed=job.recipe.seed)
    copies = np.where(validation, 1, copies).astype(np.int64)
    lengths = np.diff(encoded["tokens"].offsets.to_numpy()).astype(np.int64)
    count.add("mix", IN, encoded.num_rows)
    count.add("mix", OUT, int(np.count_nonzero(copies)))
    if not_drawn := int(np.count_nonzero(copies == 0)):
        count.add("mix", "not_drawn", not_drawn)
    count.add("copies", IN, int(copies.sum()), tokens=int((lengths * copies).sum()))
    train, held_out = (Dealing(**mixture["dealings"][split]) for split in SPLITS)
    with storage.scratch() as scratch, timings.stage("write"):
        path = scratch / f"exchange-{part:05d}.arrow"
        pieces = write_exchange(
            path, encoded, copies, part, train=train, validation=held_out, seed=job.recipe.seed
        )
        dealt, tokens = sum(p.copies for p in pieces), sum(p.tokens for p in pieces)
        count.add("copies", OUT, dealt, tokens=tokens)
        after = {source: tokens + dealt} if dealt else {}  # one <|endoftext|> behind every copy
        trained: Counter[str] = Counter()  # by language, with ends
        for language, number in zip(languages, np.where(validation, 0, copies * (lengths + 1)), strict=True):
            trained[language] += int(number)
        notes = {
            "pieces": [[p.split, p.shard, p.batch] for p in pieces],
            "tokens_after": after,
            "trained": [[source, language, trained[language]] for language in sorted(trained)],
        }
        file = finished(path, "work/exchange", part, rows=dealt, content=payload.decode())
        commit(job, "work/exchange", part, made_of=payload.decode(), files=[file], count=count, notes=notes)
    timings.save(storage, "work/exchange", part)


def _repeats_of_part(encoded: Row, mixture: Any) -> tuple[str, dict[str, int]]:
    """The source of a part's documents (a part has one; "" if none is kept), and its repeats in micro-units
    by language.
    """
    kept = encoded.notes["kept"]
    source = kept[0][0] if kept else ""
    return source, {language: micro for name, language, _, micro in mixture["repeats"] if name == source}


# --- shards -------------------------------------------------------------------------------------------------


def _plan_shards(job: Job) -> Iterator[tuple[int, bytes]]:
    left = _shards_left(job)
    if not left:
        return
    pieces: dict[tuple[str, int], list[tuple[int, int]]] = {shard: [] for shard in left}
    for part, row in enumerate(need_rows(job, "work/exchange", range(job.parts))):
        for split, shard, batch in row.notes["pieces"]:
            if (split, shard) in pieces:
                pieces[split, shard].append((part, batch))
    for (split, shard), of_shard in pieces.items():
        yield shard_number(split, shard), orjson.dumps({"made_of": left[split, shard], "pieces": of_shard})


def _finish_shards(job: Job, number: int, payload: bytes, blocks: Iterable[bytes]) -> None:
    timings, storage, count = Timings(), job.storage(), Count()
    shard, split = number // 2, SPLITS[number % 2]
    work = orjson.loads(payload)
    parts = sorted({part for part, _ in work["pieces"]})
    files = dict(zip(parts, need_rows(job, "work/exchange", parts), strict=True))

    def open_file(part: int) -> pa.NativeFile:
        return storage.open_input(files[part].files[0].name)

    with timings.stage("start"):
        vocabulary = load_vocabulary(job.recipe.pack.vocabulary, job.hashes[job.recipe.pack.vocabulary])
    row_tokens = job.recipe.pack.row_tokens
    with timings.stage("gather"):
        stream = gather_stream(
            work["pieces"], open_file, seed=job.recipe.seed, row_tokens=row_tokens, eot=vocabulary.eot
        )
    count.add("shards", IN, len(stream.locators), tokens=stream.tokens)
    storage.delete(row_name("work/shards", number))
    with storage.scratch() as scratch, timings.stage("write"):
        local = scratch / Path(shard_name(split, shard)).name
        summary = write_shard(local, stream, row_tokens=row_tokens, vocabulary=vocabulary, shard_number=shard)
        count.add("shards", OUT, summary.documents, tokens=summary.tokens)
        notes = {"split": split, "shard": shard, "tokens": summary.tokens}
        made = [FinishedFile(local, _shard_file(local, summary.rows, summary.digest))] if summary.rows else []
        commit(job, "work/shards", number, made_of=work["made_of"], files=made, count=count, notes=notes)
    timings.save(storage, "work/shards", number)


def _shard_file(local: Any, rows: int, digest: str) -> PartFile:
    return PartFile(f"tokens/{local.name}", rows, local.stat().st_size, file_sha256(local), digest)


EXCHANGE = Step("work/exchange", _plan_exchange, _finish_exchange)
SHARDS = Step("work/shards", _plan_shards, _finish_shards)
