"""Nothing is asked of a store but to put, read and delete whole objects: promise 1 on the worst of stores."""

import random
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
import pytest

from pipeline import storage as pipeline_storage
from pipeline.phase import _open_storage
from pipeline.report.run_folder import open_run
from pipeline.storage import LockedError, Storage, lock
from pipeline.sweep import sweep

BUCKET = "mock://bucket"


class BadStore(pafs.FileSystemHandler):
    """Objects as files below a folder: no rename, puts that break off in the middle, listings of yesterday.

    The puts whose numbers stand in `interrupted` leave half an object under its final name. A listing leaves
    out every other of the last puts, and still names every other deleted object.
    """

    def __init__(self, root: Path, *, interrupted: set[int], stale: int = 40) -> None:
        self.root, self.interrupted, self._stale = root, interrupted, stale
        self.puts = 0
        self.recent: list[str] = []
        self.deleted: dict[str, pafs.FileInfo] = {}

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = None  # type: ignore[assignment]

    def get_type_name(self) -> str:
        return "bad store"

    def normalize_path(self, path: str) -> str:
        return path

    def get_file_info(self, paths: list[str]) -> list[pafs.FileInfo]:
        return [self._status(path) for path in paths]

    def get_file_info_selector(self, selector: pafs.FileSelector) -> list[pafs.FileInfo]:
        folder = self.root / selector.base_dir
        found = folder.rglob("*") if selector.recursive else folder.glob("*")
        paths = [path.relative_to(self.root).as_posix() for path in found]
        fresh = set(self.recent[-self._stale :: 2])
        gone = [
            status
            for path, status in list(self.deleted.items())[::2]
            if path.startswith(f"{selector.base_dir}/") and path not in paths
        ]
        return [self._status(path) for path in paths if path not in fresh] + gone

    def open_input_file(self, path: str) -> pa.PythonFile:
        return pa.PythonFile(BytesIO((self.root / path).read_bytes()), mode="r")

    open_input_stream = open_input_file

    def open_output_stream(self, path: str, metadata: Any) -> pa.PythonFile:
        self.puts += 1
        return pa.PythonFile(Put(self, path, breaks=self.puts in self.interrupted), mode="w")

    def delete_file(self, path: str) -> None:
        self.deleted[path] = self._status(path)
        (self.root / path).unlink()

    def refuse(self, *_: Any) -> None:
        raise NotImplementedError("stores do not do this")

    move = copy_file = open_append_stream = create_dir = refuse
    delete_dir = delete_dir_contents = delete_root_dir_contents = refuse

    def _status(self, path: str) -> pafs.FileInfo:
        file = self.root / path
        if file.is_file():
            return pafs.FileInfo(path, pafs.FileType.File, size=file.stat().st_size, mtime_ns=self.puts)
        kind = pafs.FileType.Directory if file.is_dir() else pafs.FileType.NotFound
        return pafs.FileInfo(path, kind)


class Put(BytesIO):
    """An object on its way: it is there when it is closed, or in part when the way breaks off."""

    def __init__(self, store: BadStore, path: str, *, breaks: bool) -> None:
        super().__init__()
        self._store, self._path, self._breaks = store, path, breaks

    def close(self) -> None:
        if self.closed:
            return
        content = self.getvalue()
        super().close()
        self._store.deleted.pop(self._path, None)
        self._store.recent.append(self._path)
        target = self._store.root / self._path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content[: len(content) // 2] if self._breaks else content)
        if self._breaks:
            raise ConnectionError("the way to the store broke off")


@pytest.fixture
def store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[BadStore]:
    """A store behind mock:// that breaks off the puts of the test's parameter."""
    made = BadStore(tmp_path, interrupted=getattr(request, "param", set()))
    local = pipeline_storage.open_filesystem

    def open_filesystem(url: str) -> tuple[pafs.FileSystem, str]:
        if url.startswith("mock://"):
            return pafs.PyFileSystem(made), url.removeprefix("mock://")
        return local(url)

    monkeypatch.setattr(pipeline_storage, "open_filesystem", open_filesystem)
    _open_storage.cache_clear()
    yield made
    _open_storage.cache_clear()


# The lock, the plan, and five anywhere on the way of about 400 puts.
BROKEN = {1, 3, *random.Random(5).sample(range(5, 400), 5)}


@pytest.mark.parametrize("store", [BROKEN], ids=[""], indirect=True)
def test_the_same_corpus(store: BadStore, run_small, said_by, small_run: Path) -> None:
    """Run again until it succeeds, as a user would; what it says then is what the undisturbed run said."""
    attempts = 1
    while True:
        try:
            run_small(BUCKET)
            break
        except (OSError, RuntimeError) as error:
            assert "broke off" in str(error)
            attempts += 1
    assert attempts == 1 + len(store.interrupted) and store.puts > max(store.interrupted, default=0)
    assert not (store.root / "bucket/lock.json").exists()
    # What the sweep could not see in a stale listing goes when the listing has caught up.
    store.recent.clear()
    store.deleted.clear()
    sweep(open_run(BUCKET))
    assert said_by(store.root / "bucket") == said_by(small_run)


def test_lock(store: BadStore) -> None:
    storage = Storage.open(BUCKET)
    with lock(storage):
        with pytest.raises(LockedError, match=r"delete lock\.json"), lock(storage):
            pass
        assert store.get_file_info(["bucket/lock.json"])[0].is_file
    with lock(storage):
        pass
    (store.root / "bucket/lock.json").write_text('{"host": "a"')  # the put of a run that never began
    with lock(storage):
        pass


def test_half_objects_are_none(store: BadStore) -> None:
    storage = Storage.open(BUCKET)
    store.interrupted = {1, 2}
    for name in ("a.json", "b.json"):
        with pytest.raises(ConnectionError):
            storage.put_bytes(name, b'{"a": 1}')
    assert storage.read_json("a.json") is None and storage.read_json("never.json") is None
    storage.put_bytes("a.json", b'{"a": 1}')
    assert storage.read_json("a.json") == {"a": 1}
    assert storage.names() == ["b.json"] and storage.size("a.json") == 8  # a listing is stale, a look is not
    storage.delete("a.json")
    storage.delete("a.json")
    assert storage.read_bytes("a.json") is None
