"""`sluice takedown`: documents taken out of a finished run by id, URL or domain, for good.

The request is put into the run's folder (takedown.json), and Decide, Pack and Report run again. Only the
shards that held a copy are written anew; all others keep their bytes. A takedown that was interrupted goes on
when it, or the run, is started again, and later runs in the folder keep to it.

A document that is named but was dropped anyway, as a duplicate perhaps, says `takedown`, too. Its survivor
stays unless it is named as well, which is said; near-duplicates of what goes are not promoted.

What stays on disk: the raw text in documents/ (and of records that were set aside in quarantine/), private to
the owner of the folder, and the inputs. Shards, encoded tokens, new exports, `sluice why` and the report hold
none of it.

Exit codes: 0; 1 if something that was asked for names no document (all else is done); 2 for a folder or file
that cannot be used; those of `sluice run` if its phases fail.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
from rich.console import Console
from rich.markup import escape

from pipeline.annotate.digests import canonical_url, host_and_rest, url_digests
from pipeline.annotate.splits import InputFile
from pipeline.config import UsageError
from pipeline.decide.takedowns import TAKEDOWN, Request, domains_of, read_requests, write_requests
from pipeline.pack.phase import shard_name
from pipeline.pack.taken import copies_of
from pipeline.parts import file_sha256, read_batches
from pipeline.phase import Job, load_plan, need_rows
from pipeline.plan import Plan, hash_of_takedowns, save_plan
from pipeline.recipe_file import recipe_from_tree
from pipeline.report.run_folder import find_locators, is_finished, open_planned, split_locator
from pipeline.report.why import parse_id
from pipeline.run import LOCKED, RunOptions, run_phases
from pipeline.schema import locator
from pipeline.storage import LockedError, Storage, lock
from tokenizer_build.vocabulary import find_vocabulary

DONE, UNKNOWN = 0, 1
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Outline:
    """What a request means for a run as it stands."""

    documents: int  # that it names
    packed: int  # of them in the corpus
    tokens: int  # of all their copies, with ends
    shards: tuple[str, ...]  # that held them
    before: int  # documents that were taken down already
    stay: tuple[str, ...]  # ids of duplicates whose survivor is not named


def read_asked(*, ids: str | None, urls: str | None, domains: str | None) -> Request:
    """The request of three files (None: not given), each sorted and without repetitions; UsageError for an
    empty one, or an id or domain that is none.
    """
    asked = Request(
        tuple(sorted({parse_id(line).hex() for line in _lines(ids)})),
        tuple(sorted({canonical_url(_with_scheme(line)) for line in _lines(urls)})),
        tuple(sorted({_domain(line) for line in _lines(domains)})),
    )
    if asked == Request((), (), ()):
        raise UsageError("nothing to take down: give --ids, --urls or --domains, a file with one a line")
    return asked


def _lines(path: str | None) -> Iterator[str]:
    try:
        lines = Path(path).expanduser().read_text(encoding="utf-8").splitlines() if path else []
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is no text in UTF-8: {error}") from error
    for line in lines:
        if line.strip() and not line.startswith("#"):
            yield line.strip()


def _with_scheme(url: str) -> str:
    return url if "://" in url else f"http://{url}"


def _domain(line: str) -> str:
    host, rest = host_and_rest(line.removeprefix("*").lstrip("."))
    if not host or rest or "%" in host:
        raise UsageError(f"--domains: {line!r} is no domain")
    return host


def take_down(output: str, asked: Request, console: Console, *, dry_run: bool, workers: int) -> int:
    """Takes down what is asked for and returns the exit code; with `dry_run`, only says what would go."""
    storage = Storage.open(output)
    if dry_run:
        return _prepare(output, storage, asked, console)[1]
    try:
        with lock(storage):
            known, code = _prepare(output, storage, asked, console)
            if known == Request((), (), ()):
                return code
            requests = read_requests(storage)
            if known not in requests:
                write_requests(storage, (*requests, known))
            _plan_again(storage)
            done = run_phases(
                open_planned(output), RunOptions(output, workers), console, ("decide", "pack", "report")
            )
            console.print(
                "Still on disk: the inputs, the raw text in documents/ and quarantine/, exports made before.",
                highlight=False,
            )
            return done or code
    except LockedError as error:
        console.print(f"[red]{error}", markup=True)
        return LOCKED


def _prepare(output: str, storage: Storage, asked: Request, console: Console) -> tuple[Request, int]:
    """What of a request names documents, and the exit code as far as that decides it; tells both."""
    plan = load_plan(storage)
    if not is_finished(storage, plan):
        raise UsageError(f"the run in {output} is not finished: `sluice run` goes on with it")
    job = open_planned(output)
    name = job.recipe.pack.vocabulary
    if file_sha256(find_vocabulary(name)) != job.hashes[name]:
        raise UsageError(f"the vocabulary {name} is not the one that this run was packed with")
    known, unknown, locators = find_asked(job, asked)
    for what in unknown[:_SHOWN]:
        console.print(f"[red]not in this run:[/red] {escape(what)}", highlight=False)
    if len(unknown) > _SHOWN:
        console.print(f"  and {len(unknown) - _SHOWN:,} more")
    _tell(console, outline(job, locators))
    return known, UNKNOWN if unknown else DONE


def _tell(console: Console, found: Outline) -> None:
    console.print(
        f"{found.documents:,} documents are named; {found.packed:,} of them are in the corpus, with "
        f"{found.tokens:,} tokens in {len(found.shards):,} shards",
        highlight=False,
    )
    if found.before:
        console.print(f"{found.before:,} were taken down before")
    if found.stay:
        console.print(
            f"{len(found.stay):,} are duplicates of documents that are not named and stay: their text does, "
            "too. `sluice why` names those:"
        )
        for identifier in found.stay[:_SHOWN]:
            console.print(f"  {identifier}", highlight=False)


def _plan_again(storage: Storage) -> None:
    """plan.json with the requests as they lie there now; inputs are not looked at."""
    tree = load_plan(storage)
    hashes = {**tree["hashes"], **hash_of_takedowns(storage)}
    inputs = [{**entry} for entry in tree["inputs"]]
    files = tuple((entry.pop("source"), InputFile(**entry)) for entry in inputs)
    of_sets = [{**entry} for entry in tree["evaluation"]]
    evaluation = tuple((entry.pop("set"), InputFile(**entry)) for entry in of_sets)
    splits = tuple(orjson.dumps(split) for split in tree["splits"])
    save_plan(Plan(recipe_from_tree(tree["recipe"]), hashes, files, splits, evaluation), storage)


def find_asked(job: Job, asked: Request) -> tuple[Request, list[str], list[int]]:
    """(what of a request names documents, what does not, sorted locators of the documents)."""
    found: dict[str, list[int]] = {}
    for identifier in asked.ids:
        found[identifier] = find_locators(job, "id", bytes.fromhex(identifier))
    for url, digest in zip(
        asked.urls, url_digests(pa.array(asked.urls, pa.string())).to_pylist(), strict=True
    ):
        found[url] = find_locators(job, "url", digest)
    if asked.domains:
        found |= _find_domains(job, asked.domains)
    known = Request(*(tuple(n for n in getattr(asked, f.name) if found[n]) for f in fields(asked)))
    unknown = [name for name, locators in found.items() if not locators]
    return known, unknown, sorted({place for places in found.values() for place in places})


def _find_domains(job: Job, domains: tuple[str, ...]) -> dict[str, list[int]]:
    """By a look at the URL of every document: there is no index of domains."""
    found: dict[str, list[int]] = {domain: [] for domain in domains}
    for part, row in enumerate(need_rows(job, "documents", range(job.parts))):
        place = locator(part, 0)
        for batch in read_batches(job.storage(), row.file("documents"), columns=["url"]):
            for url in batch["url"].to_pylist():
                for domain in domains_of(url or ""):
                    if domain in found:
                        found[domain].append(place)
                place += 1
    return found


def outline(job: Job, locators: list[int]) -> Outline:
    """What taking down these documents means; opens the parts that hold them."""
    by_part: defaultdict[int, list[int]] = defaultdict(list)
    for place in locators:
        by_part[split_locator(place)[0]].append(split_locator(place)[1])
    named, (mixture,) = set(locators), need_rows(job, "work/mixture", [0])
    packed, tokens, before = 0, 0, 0
    shards: Counter[str] = Counter()
    stay: list[str] = []
    for part, rows in by_part.items():
        source, documents = _encoded(job, part, rows)
        packed += len(documents)
        for copy in copies_of(part, source, documents, mixture.notes, seed=job.recipe.seed):
            tokens += copy.tokens
            shards[shard_name(copy.split, copy.shard)] += 1
        for identifier, decision in _decided(job, part, rows):
            before += decision["reason"] == TAKEDOWN
            survivor = decision["survivor"]
            if not decision["kept"] and survivor is not None and survivor not in named:
                stay.append(identifier)
    return Outline(len(locators), packed, tokens, tuple(sorted(shards)), before, tuple(sorted(stay)))


def _encoded(job: Job, part: int, rows: list[int]) -> tuple[str, list[list[object]]]:
    """The source of a part, and (request, id, row, validation, factor, language, tokens) of these rows as far
    as they are packed.
    """
    (row,) = need_rows(job, "work/encoded", [part])
    documents: list[list[object]] = []
    for batch in read_batches(job.storage(), row.file("work/encoded")):
        mine = batch.filter(pa.array(np.isin(batch["row"].to_numpy(), rows)))
        lengths = mine["tokens"].value_lengths().to_pylist()
        wanted = mine.select(["id", "row", "validation", "factor", "language"]).to_pylist()
        for one, length in zip(wanted, lengths, strict=True):
            documents.append([0, *{**one, "id": one["id"].hex()}.values(), length])
    return row.notes["kept"][0][0] if documents else "", documents


def _decided(job: Job, part: int, rows: list[int]) -> Iterator[tuple[str, dict[str, object]]]:
    """(id, what was decided) of these rows of a part."""
    files = [need_rows(job, step, [part])[0].file(step) for step in ("documents", "decisions")]
    columns = (["id"], ["kept", "reason", "survivor"])
    batches = (read_batches(job.storage(), file, columns=c) for file, c in zip(files, columns, strict=True))
    first = 0
    for documents, decisions in zip(*batches, strict=True):
        here = np.array([row - first for row in rows if 0 <= row - first < documents.num_rows], np.int64)
        identifiers = documents["id"].take(pa.array(here)).to_pylist()
        for identifier, decision in zip(identifiers, decisions.take(pa.array(here)).to_pylist(), strict=True):
            yield identifier.hex(), decision
        first += documents.num_rows
