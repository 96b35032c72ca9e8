"""The step work/lists: block and allow lists, from files of domains and URLs to sorted keys; and who is on
them.

A list is a folder in the layout of the UT1 blacklists (a folder per category with files `domains` and `urls`,
one entry per line, lines with # are comments), one such category, or a file of domains and URLs by itself. A
domain stands for its subdomains, too; a URL (without scheme) for itself and what lies below it: "a.com/b" for
a.com/b, a.com/b/c and a.com/b?d, not for a.com/bc. Hosts are compared as `digests.host_and_rest` gives them.

Entries become 64-bit digests, so that 4.6 million of them (UT1) take 46 MB in a process, whatever their
length. A host or URL that is on no list meets one of n entries by chance with probability n / 2^64 per look:
2.5e-13 with UT1; of 10^9 documents with 8 looks each, 0.002 are expected to be dropped wrongly, and
`sluice why` names the category and the host or URL that was found. Built once, in 6 us per domain and 30 us
per URL; a look-up costs about 50 us per document, most of it for its canonical URL and digests.
"""

import hashlib
import re
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from pipeline.annotate.digests import host_and_rest
from pipeline.ledger import Count
from pipeline.parts import PartWriter
from pipeline.phase import Job, Step, commit, fingerprint, is_done, need_rows, read_row
from pipeline.storage import Storage, open_filesystem
from pipeline.timings import Timings

_VERSION = 1
_STEP = "work/lists"
_DOMAINS, _URLS = "domains", "urls"
_DOMAIN, _PLACE = b"sluice-domain-v1", b"sluice-place-v1"
_PLAIN_DOMAIN = re.compile(r"(?:www\.)?([a-z0-9_-]+(?:\.[a-z0-9_-]+)+)", re.ASCII)  # needs no more reading
_PATH_PIECES, _QUERY_PIECES = re.compile(r"/[^/]*"), re.compile(r"[?&][^&]*")
_BATCH = 1 << 20
_SCHEMA = pa.schema([("key", pa.uint64()), ("allows", pa.bool_()), ("category", pa.uint16())])


@dataclass(frozen=True, slots=True)
class ListFile:
    """One file of a list. `kind`: `urls`, or `domains`, where an entry that has a path is a URL."""

    category: str
    kind: str
    filesystem: pafs.FileSystem
    path: str


@dataclass(frozen=True, slots=True)
class Keys:
    """Sorted keys (uint64), and the category (uint16) of each."""

    keys: np.ndarray
    categories: np.ndarray

    def find(self, wanted: np.ndarray) -> np.ndarray:
        """int64 per wanted key: its place, or -1."""
        if not len(self.keys):
            return np.full(len(wanted), -1)
        at = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        return np.where(self.keys[at] == wanted, at, -1)


@dataclass(frozen=True, slots=True)
class Lists:
    """The lists of a recipe. `only_allowed`: there are allow lists alone; what is on none of them goes."""

    block: Keys
    allow: Keys
    categories: tuple[str, ...]
    only_allowed: bool

    def blocked(self, urls: pa.Array) -> np.ndarray:
        """bool per URL (string; an empty one passes)."""
        present = np.array([bool(url) for url in urls.to_pylist()], bool)
        found = [[key for key, _ in url_keys(url or "")] for url in urls.to_pylist()]
        rows = np.repeat(np.arange(len(found)), [len(keys) for keys in found])
        wanted = np.array([key for keys in found for key in keys], np.uint64)
        allowed, on_list = np.zeros((2, len(found)), bool)
        allowed[rows[self.allow.find(wanted) >= 0]] = True
        on_list[rows[self.block.find(wanted) >= 0]] = True
        return present & ~allowed & (on_list | self.only_allowed)

    def explain(self, url: str) -> str:
        """What decides about one URL: "CATEGORY: ENTRY" of the shortest entry that it is under."""
        for keys, told in ((self.allow, "allowed by "), (self.block, "")):
            for key, entry in url_keys(url):
                found = int(keys.find(np.array([key], np.uint64))[0])
                if found >= 0:
                    return f"{told}{self.categories[keys.categories[found]]}: {place(url)[entry]}"
        return "on no list"


def has_lists(job: Job) -> bool:
    """Whether the recipe names any."""
    return bool(job.recipe.decide.block_lists or job.recipe.decide.allow_lists)


def lists_content(job: Job) -> str:
    """What decisions depend on; "" without lists."""
    return need_rows(job, _STEP, [0])[0].content if has_lists(job) else ""


def load_lists(job: Job) -> Lists:
    """The lists of a run, read once per process."""
    (row,) = need_rows(job, _STEP, [0])
    only_allowed = not job.recipe.decide.block_lists
    return _load(job.output, row.file(_STEP).name, tuple(row.notes["categories"]), only_allowed)


@lru_cache(maxsize=2)
def _load(output: str, name: str, categories: tuple[str, ...], only_allowed: bool) -> Lists:
    with Storage.open(output).open_input(name) as source:
        table = pq.read_table(source, use_threads=False)
    keys, allows, category = (table[column].to_numpy() for column in ("key", "allows", "category"))
    block, allow = (Keys(keys[allows == side], category[allows == side]) for side in (False, True))
    return Lists(block, allow, categories, only_allowed)


# --- keys ---------------------------------------------------------------------------------------------------


def url_keys(url: str) -> Iterator[tuple[int, slice]]:
    """(key, where it stands in `place(url)`) of every entry that would stand for a URL: its domains from the
    last label on, then its host and the beginnings of path and query. Costs as much as the URL is long.
    """
    host, rest = host_and_rest(url)
    if host:
        yield from _domain_keys(host)
        yield from _place_keys(host, rest)


def place(url: str) -> str:
    """Host, path and query of a URL, as entries are compared with it."""
    return "".join(host_and_rest(url))


def _domain_keys(host: str) -> Iterator[tuple[int, slice]]:
    digest, start = hashlib.blake2b(digest_size=8, person=_DOMAIN), len(host) + 1
    for label in reversed(host.split(".")):
        start -= len(label) + 1
        digest.update(f".{label}".encode())
        yield int.from_bytes(digest.digest(), "little"), slice(start, len(host))


def _place_keys(host: str, rest: str) -> Iterator[tuple[int, slice]]:
    digest, end = hashlib.blake2b(host.encode(), digest_size=8, person=_PLACE), len(host)
    yield int.from_bytes(digest.digest(), "little"), slice(0, end)
    path, mark, query = rest.partition("?")
    for piece in _PATH_PIECES.findall(path) + _QUERY_PIECES.findall(mark + query):
        end += len(piece)
        digest.update(piece.encode())
        yield int.from_bytes(digest.digest(), "little"), slice(0, end)


def entry_key(entry: str, kind: str) -> int | None:
    """The key of a line of a list; None for one that can be on no URL."""
    if kind == _DOMAINS and (plain := _PLAIN_DOMAIN.fullmatch(entry)):
        host, rest = plain[1], ""
    else:
        host, rest = host_and_rest(entry.removeprefix("*").lstrip("."))
    if not host or "%" in host:
        return None
    of_domain = kind == _DOMAINS and not rest
    *_, (key, _) = _domain_keys(host) if of_domain else _place_keys(host, rest)
    return key


# --- files --------------------------------------------------------------------------------------------------


def list_files(path: str) -> list[ListFile]:
    """The files of a list, sorted by name; FileNotFoundError or ValueError where there is none."""
    filesystem, root = open_filesystem(path)
    found = filesystem.get_file_info(root)
    if found.type == pafs.FileType.File:
        kind = _URLS if found.base_name == _URLS else _DOMAINS
        return [ListFile(found.base_name.partition(".")[0], kind, filesystem, root)]
    if found.type != pafs.FileType.Directory:
        raise FileNotFoundError(f"there is no list {path}")
    own = root.rstrip("/").rpartition("/")[2]
    inside = filesystem.get_file_info(pafs.FileSelector(root, recursive=True))
    files = []
    for entry in sorted(inside, key=lambda entry: entry.path):
        if entry.type == pafs.FileType.File and entry.base_name in (_DOMAINS, _URLS):
            folder = entry.path[len(root) :].strip("/").rpartition("/")[0]
            files.append(ListFile(folder or own, entry.base_name, filesystem, entry.path))
    if not files:
        raise ValueError(f"{path} holds no file named {_DOMAINS} or {_URLS}")
    return files


def list_sha256(path: str) -> str:
    """sha256 hex over categories, kinds and contents of a list's files; raises as `list_files` does."""
    whole = hashlib.sha256()
    for file in list_files(path):
        with file.filesystem.open_input_stream(file.path, compression=None) as source:
            content = hashlib.sha256()
            while block := source.read(_BATCH):
                content.update(block)
        whole.update(f"{file.category}\0{file.kind}\0{content.hexdigest()}\n".encode())
    return whole.hexdigest()


def read_entries(file: ListFile) -> Iterator[str]:
    """The entries of a file, without comments and empty lines."""
    with file.filesystem.open_input_stream(file.path, compression=None) as source:
        tail = b""
        while block := source.read(_BATCH):
            *lines, tail = (tail + block).split(b"\n")
            yield from _entries(lines)
        yield from _entries([tail])


def _entries(lines: Iterable[bytes]) -> Iterator[str]:
    for line in lines:
        entry = line.decode("utf-8", "replace").strip()
        if entry and not entry.startswith("#"):
            yield entry


# --- the step -----------------------------------------------------------------------------------------------


def _plan(job: Job) -> Iterator[tuple[int, bytes]]:
    decide = job.recipe.decide
    sides = [[job.hashes[path] for path in paths] for paths in (decide.block_lists, decide.allow_lists)]
    made_of = fingerprint(_VERSION, sides)
    if not is_done(job, read_row(job, _STEP, 0), made_of):
        yield 0, made_of.encode()


def _finish(job: Job, number: int, payload: bytes, blocks: Iterable[bytes]) -> None:
    timings, storage, decide = Timings(), job.storage(), job.recipe.decide
    keys, allows, categories = array("Q"), array("B"), array("H")
    names: list[str] = []
    told = {"entries": 0, "unusable": 0}
    with timings.stage("read"):
        for side, paths in enumerate((decide.block_lists, decide.allow_lists)):
            for path in paths:
                if list_sha256(path) != job.hashes[path]:
                    raise RuntimeError(f"the list {path} changed while the run was going on: run again")
                for file in list_files(path):
                    if file.category not in names:
                        names.append(file.category)
                    for entry in read_entries(file):
                        key = entry_key(entry, file.kind)
                        told["entries" if key is not None else "unusable"] += 1
                        if key is not None:
                            keys.append(key)
                            allows.append(side)
                            categories.append(names.index(file.category))
    sorted_keys = _sorted(*(np.frombuffer(column, column.typecode) for column in (keys, allows, categories)))
    with storage.scratch() as scratch, timings.stage("write"):
        writer = PartWriter(scratch, _STEP, 0, _SCHEMA)
        for start in range(0, sorted_keys.num_rows, _BATCH):
            writer.write(sorted_keys.slice(start, _BATCH))
        notes = {"categories": names, **told}
        made_of, files = payload.decode(), [writer.finish()]
        commit(job, _STEP, 0, made_of=made_of, files=files, count=Count(), notes=notes)
    timings.save(storage, _STEP, 0)


def _sorted(keys: np.ndarray, allows: np.ndarray, categories: np.ndarray) -> pa.RecordBatch:
    """_SCHEMA, each key once per side, under the first of its categories."""
    order = np.lexsort((categories, keys, allows))
    keys, allows, categories = keys[order], allows[order], categories[order]
    new = np.ones(len(keys), bool)
    new[1:] = (keys[1:] != keys[:-1]) | (allows[1:] != allows[:-1])
    columns = [pa.array(keys[new]), pa.array(allows[new].astype(bool)), pa.array(categories[new])]
    return pa.RecordBatch.from_arrays(columns, schema=_SCHEMA)


LISTS = Step(_STEP, _plan, _finish)
