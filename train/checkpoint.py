"""Checkpoints that are whole or not there: written beside training, published by one rename, never half read.

    checkpoints/step-00000500.tmp/    being written by all ranks, each its shards (PyTorch's DCP)
    checkpoints/step-00000500/        published: every file's size stands in state.json, written last

A checkpoint of any strategy and number of ranks is read by any other, because weights and moments are stored
by name and as a whole. Nothing in it is executed: tensors are read with `weights_only`, and DCP's index,
which is a pickle, through a reader that knows the classes of an index and no others.
"""

import dataclasses
import json
import os
import pickle
import shutil
import warnings
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.metadata import Metadata, TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import async_save

from train.optimizer import SpikeGuard
from train.parallel import World

# What DCP's index is made of. `getattr` and the like are not among them.
_INDEX_CLASSES = {
    ("torch.distributed.checkpoint.metadata", name)
    for name in (
        "Metadata",
        "MetadataIndex",
        "TensorStorageMetadata",
        "TensorProperties",
        "ChunkStorageMetadata",
        "BytesStorageMetadata",
        "StorageMeta",
        "_MEM_FORMAT_ENCODING",
    )
} | {
    ("torch.distributed.checkpoint.filesystem", "_StorageInfo"),
    ("torch.serialization", "_get_layout"),
    ("torch", "Size"),
    ("pathlib", "Path"),
    ("pathlib", "PosixPath"),
}


class CheckpointError(ValueError):
    """Why a checkpoint is not taken, with its folder."""


@dataclass
class Progress:
    """Where a run stands: with it, the weights and the moments, training goes on as if never stopped."""

    step: int = 0  # completed updates
    drawn: int = 0  # samples drawn from the stream
    order: str = ""  # name of the rule of order.py
    fingerprint: str = ""  # of the data and all that decides its order
    skips: tuple[tuple[int, int], ...] = ()
    model: dict[str, Any] = dataclasses.field(default_factory=dict)  # ModelConfig
    config: dict[str, Any] = dataclasses.field(default_factory=dict)  # the recipe, for who looks
    vocabulary: dict[str, Any] = dataclasses.field(
        default_factory=dict
    )  # file, sha256, n_vocab, eot of the manifest


def tensors_of(model: nn.Module, optimizer: torch.optim.Optimizer, guard: SpikeGuard) -> dict[str, Tensor]:
    """Everything of a run that is a tensor, by name, the same names whatever the strategy."""
    tensors = {"guard.history": guard.history, "guard.seen": guard.seen}
    for name, parameter in model.named_parameters():
        tensors[f"model.{name}"] = parameter.detach()
        for key, value in optimizer.state[parameter].items():
            tensors[f"optimizer.{name}.{key}"] = value
    return tensors


class Checkpointer:
    """Saves while training goes on, publishes what is complete, keeps the newest few."""

    def __init__(self, folder: Path, keep: int, world: World) -> None:
        self.folder, self.keep, self.world = folder, keep, world
        self._writing: tuple[Future[Any], Path, Progress] | None = None
        # The writing threads talk to each other while training does. On one group their messages would cross
        # in another order on every rank, and all would wait for ever.
        group = dist.new_group(backend="gloo")
        assert isinstance(group, dist.ProcessGroup)
        self._group = group
        if world.rank == 0:
            folder.mkdir(parents=True, exist_ok=True)
            for left in folder.glob("*.tmp"):  # of a process that was killed
                shutil.rmtree(left)
        world.barrier()

    def save(self, tensors: dict[str, Tensor], progress: Progress) -> None:
        """Copies the tensors to host memory and returns; what was being written before is finished first."""
        self.wait()
        path = self.folder / f"step-{progress.step:08d}.tmp"
        with warnings.catch_warnings():
            # Named as experimental, and about the typed storage of old tensors.
            warnings.simplefilter("ignore")
            writer = FileSystemWriter(path, single_file_per_rank=True, sync_files=True)
            future = async_save(tensors, storage_writer=writer, process_group=self._group)
        assert isinstance(future, Future)
        self._writing = (future, path, dataclasses.replace(progress))

    def poll(self) -> None:
        """Publishes what has been written meanwhile; costs nothing otherwise."""
        if self._writing is not None and self._writing[0].done():
            self._publish()

    def wait(self) -> None:
        """Returns when nothing is being written on any rank; raises what went wrong with it."""
        if self._writing is not None:
            self._publish()
        self.world.barrier()

    def _publish(self) -> None:
        assert self._writing is not None
        future, path, progress = self._writing
        self._writing = None
        future.result()  # done on rank 0 only when all ranks have written
        if self.world.rank != 0:
            return
        sizes = {file.name: file.stat().st_size for file in sorted(path.iterdir())}
        told = {"format": 1, **dataclasses.asdict(progress), "torch": torch.__version__, "files": sizes}
        with (path / "state.json").open("w", encoding="utf-8") as file:
            json.dump(told, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        _sync_folder(path)
        if path.with_suffix("").exists():  # one that lost a file, or the run would have gone on from it
            shutil.rmtree(path.with_suffix(""))
        path.rename(path.with_suffix(""))
        _sync_folder(self.folder)
        for old in complete_checkpoints(self.folder)[self.keep :]:
            shutil.rmtree(old)


def complete_checkpoints(folder: Path) -> list[Path]:
    """Published checkpoints whose files all have their sizes, the newest first."""
    return [path for path in sorted(folder.glob("step-????????"), reverse=True) if _is_complete(path)]


def _is_complete(path: Path) -> bool:
    try:
        files = json.loads((path / "state.json").read_text(encoding="utf-8"))["files"]
        return all((path / name).stat().st_size == size for name, size in files.items())
    except (OSError, ValueError, KeyError):
        return False


def read_progress(path: Path) -> Progress:
    """Where the run of a checkpoint stood; CheckpointError for another format."""
    told = json.loads((path / "state.json").read_text(encoding="utf-8"))
    if told.get("format") != 1:
        raise CheckpointError(f"{path}: format {told.get('format')!r}, this reader knows 1")
    names = [member.name for member in dataclasses.fields(Progress)]
    skips = tuple((int(first), int(last)) for first, last in told["skips"])
    return Progress(**{**{name: told[name] for name in names}, "skips": skips})


def load_tensors(path: Path, tensors: dict[str, Tensor], world: World | None = None) -> None:
    """Fills tensors by name, each rank its shards; CheckpointError for names or shapes that are not there.

    Without a world: in this process alone.
    """
    reader = _Reader(path)
    known = reader.read_metadata().state_dict_metadata
    for name, tensor in tensors.items():
        entry = known.get(name)
        if not isinstance(entry, TensorStorageMetadata):  # what is no tensor would be unpickled
            raise CheckpointError(f"{path} has no tensor {name}")
        if entry.size != tensor.shape:
            raise CheckpointError(f"{path}: {name} has shape {list(entry.size)}, not {list(tensor.shape)}")
    group = None if world is None else world.host_group
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")  # as asked for
        load(tensors, storage_reader=reader, process_group=group, no_dist=world is None)  # type: ignore[arg-type]


class _Reader(FileSystemReader):
    """DCP's reader, with an index that can only hold what an index holds."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        with (Path(self.path) / ".metadata").open("rb") as file:
            metadata = _IndexReader(file).load()
        if not isinstance(metadata, Metadata):
            raise CheckpointError(f"{self.path}: .metadata is no index")
        return metadata


class _IndexReader(pickle.Unpickler):
    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file)

    def find_class(self, module: str, name: str) -> Any:
        is_dtype = module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)
        if (module, name) not in _INDEX_CLASSES and not is_dtype:
            raise CheckpointError(f"the index names {module}.{name}, which no checkpoint of ours holds")
        return super().find_class(module, name)


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
