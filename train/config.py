"""The training recipe as frozen classes, and its strict reader: TOML and `--set a.b=c`.

Defaults are the Qwen report's (arXiv 2309.16609, 2.4) where it has a value, else those of its memo; the unit
stands in the comment. A key that is not known or has a wrong value raises ConfigError, which names the key
and the nearest valid one, before anything is built.
"""

import dataclasses
import tomllib
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from model.config import PRESETS, ModelConfig
from train.order import parse_skips


class ConfigError(ValueError):
    """What is wrong with a recipe, by key."""


@dataclass(frozen=True)
class Model:
    """A preset, and what is changed in it; 0 and 0.0 stand for the preset's own value."""

    preset: str = "tiny"
    n_layers: int = 0
    dim: int = 0
    n_heads: int = 0
    n_kv_heads: int = 0
    head_dim: int = 0
    hidden: int = 0
    rope_base: float = 0.0


@dataclass(frozen=True)
class Source:
    """One finished pipeline run, and its share of the samples."""

    path: str
    weight: float = 1.0  # relative to the others


@dataclass(frozen=True)
class Data:
    sources: tuple[Source, ...] = ()
    vocabulary: str = (
        ""  # name or .tiktoken file, for bits per byte and generation; "": as the shards name it
    )
    seed: int = 0
    shuffle_window: int = 0  # shards that are shuffled together, for network disks; 0: all rows
    skip: tuple[str, ...] = ()  # sample ranges "A:B" that are left out
    document_mask: bool = False  # attention within documents only; the report's model sees whole rows


@dataclass(frozen=True)
class Batch:
    tokens: int = 4_194_304  # per update: 2,048 rows of 2,048
    micro_rows: int = 8  # rows per rank and forward pass


@dataclass(frozen=True)
class Schedule:
    steps: int = 10_000  # updates
    peak: float = 3e-4
    warmup_steps: int = 2000
    floor: float = 0.1  # of the peak
    decay: Literal["cosine", "constant"] = "cosine"


@dataclass(frozen=True)
class Optimizer:
    beta1: float = 0.9
    beta2: float = 0.95
    eps: float = 1e-8
    weight_decay: float = 0.1  # of matrices and embeddings; never of norms and biases
    clip: float = 1.0  # norm of the whole gradient; 0: none
    skip_sigmas: float = 6.0  # an update whose loss or gradient norm is so far above its window's; 0: none
    skip_window: int = 128  # updates


@dataclass(frozen=True)
class Loss:
    z_loss: float = 0.0  # weight of logsumexp^2; PaLM has 1e-4
    chunk_tokens: int = 8192  # positions whose logits exist at a time


@dataclass(frozen=True)
class Parallel:
    strategy: Literal["auto", "single", "ddp", "fsdp"] = "auto"  # auto: single on one rank, else fsdp
    device: Literal["auto", "cpu", "cuda"] = "auto"
    dtype: Literal["bfloat16", "float32"] = "bfloat16"  # of matrix products; weights and sums are fp32
    compile: bool = True  # every block by torch.compile
    checkpoint_blocks: bool = False  # recompute blocks in the backward pass: less memory, a third more work


@dataclass(frozen=True)
class Checkpoints:
    every: int = 500  # updates; 0: only at the end and on SIGTERM
    keep: int = 3
    asynchronous: bool = True


@dataclass(frozen=True)
class Log:
    every: int = 10  # updates
    validate_every: int = 500  # updates; 0: never
    validation_rows: int = 256  # at most
    tensorboard: bool = False
    peak_tflops: float = 0.0  # of the device in `parallel.dtype`; 0: from the table of known devices


@dataclass(frozen=True)
class Config:
    name: str
    output: str = ""  # folder of the run; `--output`
    seed: int = 0  # of the initial weights
    model: Model = field(default_factory=Model)
    data: Data = field(default_factory=Data)
    batch: Batch = field(default_factory=Batch)
    schedule: Schedule = field(default_factory=Schedule)
    optimizer: Optimizer = field(default_factory=Optimizer)
    loss: Loss = field(default_factory=Loss)
    parallel: Parallel = field(default_factory=Parallel)
    checkpoints: Checkpoints = field(default_factory=Checkpoints)
    log: Log = field(default_factory=Log)


def model_config(model: Model, n_vocab: int, row_tokens: int) -> ModelConfig:
    """The preset with its changes, for so many ids (rows padded to a multiple of 128) and tokens a row.

    The rows' length becomes the model's training length, from which context extension counts.
    """
    changes = {
        member.name: getattr(model, member.name)
        for member in dataclasses.fields(model)
        if member.name != "preset" and getattr(model, member.name)
    }
    try:
        preset = dataclasses.replace(PRESETS[model.preset], train_length=row_tokens, max_positions=row_tokens)
        return dataclasses.replace(preset, n_vocab=-(-n_vocab // 128) * 128, **changes)
    except ValueError as error:
        raise ConfigError(f"model: {error}") from error


def packaged_recipes() -> dict[str, Path]:
    """Name to file of the recipes that come with the package."""
    folder = Path(str(resources.files("train.recipes")))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def load_config(name_or_path: str, settings: Sequence[str] = ()) -> Config:
    """Reads a packaged or given recipe, applies `a.b=c` settings and checks all of it; raises ConfigError."""
    packaged = packaged_recipes()
    path = packaged.get(name_or_path, Path(name_or_path))
    if not path.is_file():
        known = ", ".join(packaged)
        raise ConfigError(
            f"no recipe {name_or_path!r}: no file, and not one of {known}{nearest(name_or_path, packaged)}"
        )
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error
    for setting in settings:
        apply_setting(tree, setting)
    return config_from_tree(tree)


def config_from_tree(tree: Mapping[str, Any]) -> Config:
    """Builds and checks a recipe from nested dictionaries: parsed TOML, or what a run wrote down."""
    config: Config = _build(Config, tree, "")
    check_config(config)
    return config


def apply_setting(tree: dict[str, Any], setting: str) -> None:
    """Puts one `a.b=c` into a parsed recipe; the value is TOML, a bare word is a string."""
    key, equals, text = setting.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {setting!r}: expected KEY=VALUE, for example schedule.peak=1e-3")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *parents, leaf = key.strip().split(".")
    node: Any = tree
    for depth, part in enumerate(parents):
        node = node.setdefault(part, {})
        if not isinstance(node, dict):
            raise ConfigError(f"--set {key}: {'.'.join(parents[: depth + 1])} is no table")
    node[leaf] = value


def _build(kind: Any, value: Any, key: str) -> Any:
    """Checks one value of a parsed tree against a type annotation and returns it as that type."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        _expect(isinstance(value, Mapping), key or "the recipe", "a table", value)
        members = {member.name: member for member in dataclasses.fields(kind)}
        for name in value:
            if name not in members:
                raise ConfigError(f"unknown key {_join(key, name)}{nearest(name, members)}")
        for name, member in members.items():
            optional = (member.default, member.default_factory) != (dataclasses.MISSING,) * 2
            if name not in value and not optional:
                raise ConfigError(f"missing key {_join(key, name)}")
        hints = typing.get_type_hints(kind)
        return kind(**{name: _build(hints[name], value[name], _join(key, name)) for name in value})
    if origin is tuple:
        _expect(isinstance(value, list | tuple), key, "a list", value)
        return tuple(_build(arguments[0], part, _join(key, str(n))) for n, part in enumerate(value))
    if origin is Literal:
        if value not in arguments:
            choices = ", ".join(map(repr, arguments))
            raise ConfigError(f"{key} = {value!r}: must be one of {choices}{nearest(str(value), arguments)}")
        return value
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    due = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}[kind]
    _expect(type(value) is kind, key, due, value)
    return value


def _expect(right: bool, key: str, due: str, value: Any) -> None:
    if not right:
        raise ConfigError(f"{key}: expected {due}, got {value!r}")


def _join(parent: str, name: str) -> str:
    return f"{parent}.{name}" if parent else name


def nearest(name: str, known: typing.Iterable[str]) -> str:
    """`; did you mean 'x'?`, or nothing if no known name is near."""
    close = get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def check_config(config: Config) -> None:
    """ConfigError for values that no run can have."""
    if config.model.preset not in PRESETS:
        near = nearest(config.model.preset, PRESETS)
        raise ConfigError(
            f"model.preset = {config.model.preset!r}: must be one of {', '.join(PRESETS)}{near}"
        )
    model_config(config.model, 128, 2048)
    positive = ("batch.tokens", "batch.micro_rows", "schedule.steps", "schedule.peak", "optimizer.eps")
    positive += ("optimizer.skip_window", "loss.chunk_tokens", "checkpoints.keep", "log.every")
    never_negative = ("schedule.warmup_steps", "schedule.floor", "optimizer.weight_decay", "optimizer.clip")
    never_negative += ("optimizer.skip_sigmas", "loss.z_loss", "checkpoints.every", "log.validate_every")
    never_negative += ("log.validation_rows", "log.peak_tflops", "data.shuffle_window", "data.seed", "seed")
    for keys, least in ((positive, "above 0"), (never_negative, "0 or above")):
        for key in keys:
            value: Any = config
            for part in key.split("."):
                value = getattr(value, part)
            if value < 0 or (value == 0 and keys is positive):
                raise ConfigError(f"{key} = {value}: must be {least}")
    for key in ("beta1", "beta2"):
        if not 0 <= getattr(config.optimizer, key) < 1:
            raise ConfigError(f"optimizer.{key} = {getattr(config.optimizer, key)}: must lie in [0, 1)")
    if not config.schedule.floor <= 1:
        raise ConfigError(f"schedule.floor = {config.schedule.floor}: a share of the peak, at most 1")
    for number, source in enumerate(config.data.sources):
        if not 0 < source.weight < float("inf"):
            raise ConfigError(f"data.sources.{number}.weight = {source.weight}: must be above 0")
    try:
        parse_skips(config.data.skip)
    except ValueError as error:
        raise ConfigError(f"data.skip: {error}") from None
