"""Weights as files: safetensors in shards with an index, config.json, and the sha256 of each.

Strict both ways: every tensor that the shape asks for is there with its shape, and nothing else is. Files are
checked against their sums before they are opened. Reading and writing hold one shard in memory beside the
model. The same weights and settings give the same bytes.
"""

import hashlib
import json
import math
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from model.config import ModelConfig
from model.layouts import BUFFERS, HEAD, Layout, from_json, stored_names, to_json
from model.transformer import Transformer, build

CONFIG, INDEX, SINGLE, SUMS = "config.json", "model.safetensors.index.json", "model.safetensors", "SHA256SUMS"
DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
SHARD_BYTES = 2_000_000_000  # near that of the official files
# A stored tensor: the parameter that it is part of, its first row there, its name and shape in the file.
Piece = tuple[str, int, str, tuple[int, ...]]


@dataclass(frozen=True, eq=False)
class Checkpoint(Mapping[str, Tensor]):
    """A checked folder as the state dict of its `Transformer`; a tensor is read, to the CPU, when asked for.

    So `save_checkpoint(checkpoint, checkpoint.config, ...)` turns one layout into the other without a model.
    """

    folder: Path
    layout: Layout
    config: ModelConfig
    dtype: torch.dtype  # of all tensors
    places: Mapping[str, tuple[str, str]]  # stored name -> file, and the name there
    names: Mapping[str, list[tuple[str, tuple[int, ...]]]]  # see stored_names

    def __getitem__(self, name: str) -> Tensor:
        tensors = []
        for stored, _ in self.names[name]:
            file, key = self.places[stored]
            with safe_open(self.folder / file, framework="pt") as opened:
                tensors.append(opened.get_tensor(key))
        return tensors[0] if len(tensors) == 1 else torch.cat(tensors)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


def open_checkpoint(folder: Path | str, *, sha256: Mapping[str, str] | None = None) -> Checkpoint:
    """Checks a folder in either layout.

    `sha256` maps file names to hex digests; without it the folder's own SHA256SUMS counts (`sha256sum
    *.safetensors *.json > SHA256SUMS` makes one). ValueError for a missing or wrong sum, and for tensors that
    are missing, unknown, or of another shape or dtype; FileNotFoundError for missing files.
    """
    folder = Path(folder)
    sums = dict(sha256) if sha256 is not None else _read_sums(folder / SUMS)
    content = _read_json(folder, CONFIG, sums)
    layout, config = from_json(content)
    index: dict[str, str] = {}
    if (folder / INDEX).exists():
        index = _read_json(folder, INDEX, sums)["weight_map"]
    found: dict[str, tuple[str, tuple[int, ...], str]] = {}  # name -> file, shape, dtype
    wrong = []
    for file in sorted(set(index.values()) or {SINGLE}):
        _check_sum(folder, file, sums)
        with safe_open(folder / file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118 - not a mapping
                if index and index.get(name) != file:
                    wrong.append(f"{name} is in {file}, the index says {index.get(name)}")
                view = opened.get_slice(name)
                found[name] = file, tuple(view.get_shape()), view.get_dtype()
    wrong += [f"{name} is not in {file}" for name, file in index.items() if name not in found]

    found = {name: place for name, place in found.items() if not name.endswith(BUFFERS)}
    names = stored_names(layout, config)
    aliases = {}
    if layout == "qwen2" and content.get("tie_word_embeddings"):
        aliases[HEAD] = names["embed.weight"][0][0]
        found.pop(HEAD, None)
    expected = {stored: shape for parts in names.values() for stored, shape in parts if stored not in aliases}
    wrong += [f"{name} is missing" for name in expected if name not in found]
    wrong += [f"{name} is unknown" for name in found if name not in expected]
    for name, (_, shape, _) in found.items():
        if shape != expected.get(name, shape):
            wrong.append(f"{name} is {list(shape)}, config.json asks for {list(expected[name])}")
    dtypes = sorted({dtype for _, _, dtype in found.values()})
    if len(dtypes) != 1 or dtypes[0] not in DTYPES:
        wrong.append(f"tensors are {', '.join(dtypes)}; all must be one of {', '.join(DTYPES)}")
    if wrong:
        more = f"; and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise ValueError(f"{folder}: {'; '.join(wrong[:5])}{more}")
    places = {name: (file, name) for name, (file, _, _) in found.items()}
    places |= {name: places[source] for name, source in aliases.items()}
    return Checkpoint(folder, layout, config, DTYPES[dtypes[0]], places, names)


@torch.no_grad()
def load_checkpoint(
    folder: Path | str,
    *,
    sha256: Mapping[str, str] | None = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
) -> Transformer:
    """The model of a folder, in eval mode, by default in the stored dtype; errors as `open_checkpoint`."""
    checkpoint = open_checkpoint(folder, sha256=sha256)
    model = build(checkpoint.config, dtype=dtype or checkpoint.dtype, device=device)
    for name, value in checkpoint.items():
        model.get_parameter(name).copy_(value)
    return model.eval()


def save_checkpoint(
    state: Mapping[str, Tensor],
    config: ModelConfig,
    folder: Path | str,
    *,
    layout: Layout,
    dtype: torch.dtype | None = None,
    eos: int | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Writes a `Transformer`'s whole state dict to a new folder, which appears when it is complete.

    `dtype`: of the files (default: the state's). `eos`: the id that ends a text, for config.json. ValueError
    for a state that is not exactly the config's, FileExistsError if the folder exists.
    """
    folder = Path(folder)
    if folder.exists():
        raise FileExistsError(f"{folder} exists")
    names = stored_names(layout, config)
    wrong = [f"{name} is missing" for name in names if name not in state]
    wrong += [f"{name} is unknown" for name in state if name not in names]
    for name, parts in names.items():
        shape = (sum(shape[0] for _, shape in parts), *parts[0][1][1:])
        if name in state and tuple(state[name].shape) != shape:
            wrong.append(f"{name} is {list(state[name].shape)}, the config asks for {list(shape)}")
    dtype = dtype or (next(iter(state.values())).dtype if state else torch.float32)
    if dtype not in DTYPES.values():
        wrong.append(f"dtype {dtype}: must be one of {', '.join(map(str, DTYPES.values()))}")
    if wrong:
        raise ValueError(f"state and config differ: {'; '.join(wrong[:5])}")
    content = to_json(layout, config, str(dtype).removeprefix("torch."), eos)

    scratch = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    _write_json(scratch / CONFIG, content)
    shards = _shards(names, dtype.itemsize, shard_bytes)
    files = [f"model-{n:05}-of-{len(shards):05}.safetensors" for n in range(1, len(shards) + 1)]
    if len(shards) == 1:
        files = [SINGLE]
    for file, shard in zip(files, shards, strict=True):
        tensors = {}
        for name, first, stored, shape in shard:
            rows = state[name].detach()[first : first + shape[0]]
            tensors[stored] = rows.to("cpu", dtype).clone(memory_format=torch.contiguous_format)
        save_file(tensors, scratch / file, metadata={"format": "pt"})
    if len(shards) > 1:
        sizes = [math.prod(shape) * dtype.itemsize for shard in shards for _, _, _, shape in shard]
        places = {
            stored: file for file, shard in zip(files, shards, strict=True) for _, _, stored, _ in shard
        }
        _write_json(scratch / INDEX, {"metadata": {"total_size": sum(sizes)}, "weight_map": places})
    lines = [f"{_digest(path)}  {path.name}\n" for path in sorted(scratch.iterdir())]
    (scratch / SUMS).write_text("".join(lines))
    scratch.rename(folder)


def _shards(
    names: Mapping[str, list[tuple[str, tuple[int, ...]]]], itemsize: int, limit: int
) -> list[list[Piece]]:
    """Tensors in the model's order, filled into shards of at most `limit` bytes each, or one tensor."""
    shards: list[list[Piece]] = [[]]
    size = 0
    for name, parts in names.items():
        first = 0
        for stored, shape in parts:
            needed = math.prod(shape) * itemsize
            if shards[-1] and size + needed > limit:
                shards.append([])
                size = 0
            shards[-1].append((name, first, stored, shape))
            size += needed
            first += shape[0]
    return shards


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_sums(path: Path) -> dict[str, str]:
    if not path.exists():
        raise ValueError(f"{path} is missing and no sha256 was given: weights are opened only by known sums")
    matches = [re.fullmatch(r"([0-9a-fA-F]{64}) [ *](.+)", line) for line in path.read_text().splitlines()]
    if not all(matches):
        raise ValueError(f"{path}: lines must be what sha256sum writes")
    return {match[2]: match[1] for match in matches if match}


def _check_sum(folder: Path, name: str, sums: Mapping[str, str]) -> None:
    if Path(name).name != name:
        raise ValueError(f"{folder}: file name {name!r} leads out of the folder")
    if name not in sums:
        raise ValueError(f"{folder}: no sha256 is known for {name}")
    if _digest(folder / name) != sums[name].lower():
        raise ValueError(f"{folder / name} is not the file that its sha256 {sums[name]} names")


def _read_json(folder: Path, name: str, sums: Mapping[str, str]) -> dict[str, Any]:
    _check_sum(folder, name, sums)
    return json.loads((folder / name).read_text())


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
