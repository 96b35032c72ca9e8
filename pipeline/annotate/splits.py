"""The plan of work: which bytes of which files make one split. A function of the inputs and the recipe only.

A split is a tuple of spans, about `split_bytes` together: small files are grouped in their sorted order,
large ones are cut at multiples of `split_bytes` where their format can be entered in the middle. The plan
opens no file: which record belongs to which span is decided by the readers, from the bytes, so a cut that a
file turns out not to allow (a compressed file without its usual name) costs balance between workers and
nothing else. Cost: listing, and for local files one read of their content (sha256), which `known` saves on a
rerun.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.fs as pafs

from pipeline.storage import open_filesystem

FORMATS = ("warc", "html", "jsonl", "parquet", "text")
SPANS_PER_SPLIT = (
    4_096  # keeps the description of a split below 1 MB and bounds the cost of opening tiny files
)
_COMPRESSED_NAMES = (".gz", ".zst")


@dataclass(frozen=True, slots=True)
class InputFile:
    """One file of a source: `root`/`path` opens it, `path` alone goes into ids."""

    root: str
    path: str  # relative to root, with "/"
    bytes: int
    identity: str  # "sha256:<hex>" of the content for local files, else "mtime:<ns>:<bytes>"
    mtime_ns: int = 0


@dataclass(frozen=True, slots=True)
class Span:
    """The half-open byte range [start, end) of one file."""

    root: str
    path: str
    start: int
    end: int
    file_bytes: int
    identity: str


def list_input_files(
    paths: Sequence[str], *, known: Mapping[tuple[str, int, int], str] | None = None
) -> list[InputFile]:
    """The files of one source, sorted by (path, root).

    `paths` are files, folders (all files below) or globs (`*` and `?` within a name, `**` across folders),
    local or URL. Names that start with "." or "_" are met only when written out. `known` gives identities
    that an earlier run computed (see `known_identities`). ValueError for a path that matches nothing and for
    two files with one name.
    """
    known = known or {}
    files: dict[
        str, InputFile
    ] = {}  # by full path: a file that two patterns list is taken once, from the first
    for path in paths:
        root, found = _expand(path)
        if not found:
            raise ValueError(f"{path!r} matches no file: check the path, or remove it from the recipe")
        for name, status in found:
            full = f"{root}/{name}"
            if full not in files:
                files[full] = _input_file(root, name, status, known)
    by_name: dict[str, InputFile] = {}
    for file in files.values():
        other = by_name.setdefault(file.path, file)
        if other is not file:
            raise ValueError(
                f"{other.root}/{other.path} and {file.root}/{file.path} would get the same ids: both "
                f"are {file.path!r} below their folder: list a folder above both, or make them two sources"
            )
    return sorted(files.values(), key=lambda file: (file.path, file.root))


def known_identities(files: Sequence[InputFile]) -> dict[tuple[str, int, int], str]:
    """(full path, bytes, mtime in ns) -> identity, to be kept for the next `list_input_files`."""
    return {(f"{file.root}/{file.path}", file.bytes, file.mtime_ns): file.identity for file in files}


def plan_splits(files: Sequence[InputFile], *, format: str, split_bytes: int) -> list[tuple[Span, ...]]:
    """The splits of the files, in order; ValueError for an unknown format or split_bytes below 1."""
    if format not in FORMATS:
        raise ValueError(f"format is {format!r}, must be one of {', '.join(FORMATS)}")
    if split_bytes < 1:
        raise ValueError(f"split_bytes is {split_bytes}, must be at least 1")
    splits: list[tuple[Span, ...]] = []
    group: list[Span] = []
    group_bytes = 0
    for file in files:
        step = split_bytes if _can_be_cut(file.path, format) else max(file.bytes, 1)
        for start in range(0, max(file.bytes, 1), step):
            span = Span(file.root, file.path, start, min(start + step, file.bytes), file.bytes, file.identity)
            size = span.end - span.start
            if group and (group_bytes + size > split_bytes or len(group) == SPANS_PER_SPLIT):
                splits.append(tuple(group))
                group, group_bytes = [], 0
            group.append(span)
            group_bytes += size
    if group:
        splits.append(tuple(group))
    return splits


def split_to_bytes(source: str, spans: Sequence[Span]) -> bytes:
    """A split as JSON: {"source", "spans": [[root, path, start, end, file_bytes, identity], ...]}."""
    rows = [[s.root, s.path, s.start, s.end, s.file_bytes, s.identity] for s in spans]
    return orjson.dumps({"source": source, "spans": rows})


def split_from_bytes(split: bytes) -> tuple[str, tuple[Span, ...]]:
    """The (source, spans) that `split_to_bytes` was given."""
    fields = orjson.loads(split)
    return fields["source"], tuple(Span(*row) for row in fields["spans"])


def _can_be_cut(path: str, format: str) -> bool:
    """WARC by member or record, Parquet by row group, plain JSONL by line; a page or text is one document."""
    if format == "jsonl":
        return not path.lower().endswith(_COMPRESSED_NAMES)
    return format in ("warc", "parquet")


def _input_file(
    root: str, path: str, status: pafs.FileInfo, known: Mapping[tuple[str, int, int], str]
) -> InputFile:
    full, mtime_ns = f"{root}/{path}", status.mtime_ns or 0
    if "://" in full:
        identity = f"mtime:{mtime_ns}:{status.size}"
    else:
        identity = known.get((full, status.size, mtime_ns)) or _content_identity(full)
    return InputFile(root, path, status.size, identity, mtime_ns)


def _content_identity(path: str) -> str:
    with Path(path).open("rb") as content:
        return f"sha256:{hashlib.file_digest(content, 'sha256').hexdigest()}"


def _expand(path: str) -> tuple[str, list[tuple[str, pafs.FileInfo]]]:
    """The root of a path and the files that it names, relative to the root."""
    if "://" not in path:
        path = str(Path(path).expanduser().absolute())
    fixed, glob = _split_at_glob(path)
    filesystem, inner = open_filesystem(fixed)
    try:
        status = filesystem.get_file_info(inner)
        if not glob and status.type == pafs.FileType.File:
            root, _, name = fixed.rpartition("/")
            return root, [(name, status)]
        if status.type != pafs.FileType.Directory:
            return fixed, []
        return fixed, list(_descend(filesystem, inner, glob or ["**", "*"], ""))
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
        raise ValueError(f"{path!r} cannot be listed: {error}") from error


def _split_at_glob(path: str) -> tuple[str, list[str]]:
    """The folder before the first segment with a glob character, and the segments from there on."""
    scheme, separator, rest = path.rpartition("://")
    segments = rest.rstrip("/").split("/")
    first = next((i for i, name in enumerate(segments) if "*" in name or "?" in name), len(segments))
    return scheme + separator + "/".join(segments[:first]), segments[first:]


def _descend(
    filesystem: pafs.FileSystem, folder: str, glob: list[str], prefix: str
) -> Iterator[tuple[str, pafs.FileInfo]]:
    """Lists one folder per level, so that a glob does not walk what it cannot match, and all below `**`."""
    recursive = glob[0] == "**"
    pattern = re.compile(_glob_expression(glob if recursive else glob[:1]))
    for status in filesystem.get_file_info(pafs.FileSelector(folder, recursive=recursive)):
        name = status.path[len(folder.rstrip("/")) + 1 :]
        if not pattern.fullmatch(name):
            continue
        if status.type == pafs.FileType.File and (recursive or len(glob) == 1):
            yield prefix + name, status
        elif status.type == pafs.FileType.Directory and not recursive and len(glob) > 1:
            yield from _descend(filesystem, status.path, glob[1:], f"{prefix}{name}/")


def _glob_expression(glob: list[str]) -> str:
    """A regular expression for the segments; a wildcard at the start of a name passes over hidden names."""
    expression = ""
    for position, segment in enumerate(glob):
        last = position == len(glob) - 1
        if segment == "**":
            expression += r"(?:[^/._][^/]*/)*" + (r"[^/._][^/]*" if last else "")
            continue
        name = "".join({"*": "[^/]*", "?": "[^/]"}.get(letter) or re.escape(letter) for letter in segment)
        hidden = "(?![._])" if segment[0] in "*?" else ""
        expression += hidden + name + ("" if last else "/")
    return expression
