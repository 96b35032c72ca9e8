"""The output folder, local or on an object store, through pyarrow.fs.

Only three things are assumed of a store: a whole object can be put under a name, read by name, and deleted.
Nothing depends on renames, on listings being fresh, or on a put that was interrupted leaving nothing behind:
a part is named by its content and is not there until its commit row names it (pipeline/phase.py).
"""

import fcntl
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.fs as pafs

_COPY_BYTES = 8 << 20
_PRIVATE = ("documents", "quarantine", ".scratch")


class LockedError(RuntimeError):
    """Another run works in the same output folder."""


def open_filesystem(url: str) -> tuple[pafs.FileSystem, str]:
    """The filesystem of a local path or gs://, s3://, hdfs:// URL, and the path inside it."""
    if "://" in url:
        return pafs.FileSystem.from_uri(url)
    return pafs.LocalFileSystem(), str(Path(url).expanduser().absolute())


@dataclass(frozen=True, slots=True)
class Storage:
    """A folder of immutable objects; names are relative and use "/"."""

    filesystem: pafs.FileSystem
    root: str

    @classmethod
    def open(cls, url: str) -> "Storage":
        return cls(*open_filesystem(url))

    @property
    def local_root(self) -> Path | None:
        """The folder on this machine's disk, or None on an object store."""
        return Path(self.root) if isinstance(self.filesystem, pafs.LocalFileSystem) else None

    def put_file(self, local: Path, name: str) -> None:
        """Moves a finished local file to `name`: atomically on local disk, as one whole put elsewhere."""
        target = f"{self.root}/{name}"
        if self.local_root is not None:
            _make_folder(Path(target).parent, name)
            with local.open("rb") as written:
                os.fsync(written.fileno())
            local.replace(target)
            return
        with local.open("rb") as source, self.filesystem.open_output_stream(target) as sink:
            shutil.copyfileobj(source, sink, _COPY_BYTES)
        local.unlink()

    def put_bytes(self, name: str, content: bytes) -> None:
        """Writes a small object whole."""
        if self.local_root is None:
            self._put_remote(name, content)
        else:
            with self._replacing(name) as scratch:
                scratch.write(content)
                scratch.flush()
                os.fsync(scratch.fileno())

    def put_note(self, name: str, content: bytes) -> None:
        """As put_bytes, for what no step reads (progress, timings): a loss of power may take it.

        To wait for the disk takes milliseconds, which a run of many small parts feels.
        """
        if self.local_root is None:
            self._put_remote(name, content)
        else:
            with self._replacing(name) as scratch:
                scratch.write(content)

    def _put_remote(self, name: str, content: bytes) -> None:
        with self.filesystem.open_output_stream(f"{self.root}/{name}") as sink:
            sink.write(content)

    @contextmanager
    def _replacing(self, name: str) -> Iterator[IO[bytes]]:
        """A scratch file that is moved to `name` when the block ends, on local disk."""
        target = Path(self.root, name)
        _make_folder(target.parent, name)
        with tempfile.NamedTemporaryFile(dir=self.scratch_root(), delete=False) as scratch:
            yield scratch
        Path(scratch.name).replace(target)

    def read_bytes(self, name: str) -> bytes | None:
        """The whole object, or None if there is none."""
        try:
            with self.filesystem.open_input_file(f"{self.root}/{name}") as source:
                return source.read()
        except FileNotFoundError:
            return None

    def read_json(self, name: str) -> Any:
        """The values of a JSON object, or None if there is none or its put was interrupted."""
        try:
            return json.loads(self.read_bytes(name) or b"null")
        except ValueError:
            return None

    def open_input(self, name: str) -> pa.NativeFile:
        """Random access to an object; local files are memory-mapped."""
        if self.local_root is not None:
            return pa.memory_map(f"{self.root}/{name}")
        return self.filesystem.open_input_file(f"{self.root}/{name}")

    def size(self, name: str) -> int | None:
        """Bytes of an object, or None if there is none."""
        found = self.filesystem.get_file_info(f"{self.root}/{name}")
        return found.size if found.type == pafs.FileType.File else None

    def names(self, folder: str = "") -> list[str]:
        """Names of all objects under a folder, sorted; a store's listing may be stale, so only sweeps rely on
        it.
        """
        base = f"{self.root}/{folder}".rstrip("/")
        found = self.filesystem.get_file_info(pafs.FileSelector(base, recursive=True, allow_not_found=True))
        prefix = len(self.root.rstrip("/")) + 1
        return sorted(entry.path[prefix:] for entry in found if entry.type == pafs.FileType.File)

    def changes(self, folder: str) -> dict[str, int]:
        """Objects directly in a folder and when each was last put, in nanoseconds; for progress bars only."""
        selector = pafs.FileSelector(f"{self.root}/{folder}", allow_not_found=True)
        found = self.filesystem.get_file_info(selector)
        return {f"{folder}/{entry.base_name}": entry.mtime_ns or 0 for entry in found if entry.is_file}

    def delete(self, name: str) -> None:
        """Deletes an object; one that is gone already is fine."""
        try:
            self.filesystem.delete_file(f"{self.root}/{name}")
        except FileNotFoundError:
            pass

    def scratch_root(self) -> Path:
        """A folder for unfinished files: on the disk of a local output, so that moving is atomic; else
        temporary.
        """
        root = self.local_root
        folder = Path(tempfile.gettempdir()) / f"sluice-{os.getuid()}" if root is None else root / ".scratch"
        _make_folder(folder, ".scratch")
        return folder

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A scratch folder that goes when the block ends."""
        with tempfile.TemporaryDirectory(dir=self.scratch_root()) as folder:
            yield Path(folder)


def _make_folder(folder: Path, name: str) -> None:
    """Creates the folder of an object; private to its owner where unmasked text lies."""
    folder.mkdir(mode=0o700 if name.split("/")[0] in _PRIVATE else 0o777, parents=True, exist_ok=True)


@contextmanager
def lock(storage: Storage) -> Iterator[None]:
    """Refuses a second run in the same folder; a killed run leaves no lock behind on local disk.

    An object store has no locks: there a `lock.json` names the run that holds the folder, and a run that died
    has to be cleared by deleting that object, which the message says.
    """
    root = storage.local_root
    if root is None:
        if owner := storage.read_json("lock.json"):  # half of one is the mark of a run that never began
            raise LockedError(
                f"{storage.root}/lock.json says that process {owner.get('pid')} on {owner.get('host')} works "
                "here; if that run is dead, delete lock.json and run again"
            )
        try:
            owner = {"host": socket.gethostname(), "pid": os.getpid()}
            storage.put_bytes("lock.json", json.dumps(owner).encode())
            yield
        finally:
            storage.delete("lock.json")
        return
    _make_folder(root, "")
    with (root / ".lock").open("a") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise LockedError(f"another run works in {root}; wait for it, or use another --output") from error
        shutil.rmtree(root / ".scratch", ignore_errors=True)  # what a killed run left
        yield
        shutil.rmtree(root / ".scratch", ignore_errors=True)
