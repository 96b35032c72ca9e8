"""From a step of a run back to its rows and documents: the trainer's half of "every token can be explained".

A run writes one line to segments.jsonl whenever it starts, with all that decides which rows a step gets from
there on. `sluice why OUTPUT --row NAME` tells the rest of the way, to the WARC record.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from train.config import Config, ConfigError, config_from_tree
from train.data import Place, Stream
from train.order import parse_skips
from train.rows import TokenRows

FILE = "segments.jsonl"


def open_stream(config: Config) -> Stream:
    """The training rows of a recipe."""
    if not config.data.sources:
        raise ConfigError("data.sources is empty: give --data FOLDER, the output of a `sluice run`")
    return Stream(
        [TokenRows(source.path, "train") for source in config.data.sources],
        [source.weight for source in config.data.sources],
        seed=config.data.seed,
        window=config.data.shuffle_window,
        skips=parse_skips(config.data.skip),
        with_documents=config.data.document_mask,
    )


def note_segment(
    folder: Path, config: dict[str, Any], *, step: int, drawn: int, rows: int, fingerprint: str
) -> None:
    """Tells that steps after `step` draw `rows` samples each, the first of them number `drawn`."""
    told = {"step": step, "drawn": drawn, "rows": rows, "fingerprint": fingerprint, "config": config}
    with (folder / FILE).open("a", encoding="utf-8") as file:
        file.write(json.dumps(told) + "\n")


def places_of_step(folder: Path, step: int) -> list[Place]:
    """The rows that step (1 is the first) trained on, in the order of their samples.

    ConfigError if the run has no such segment or if the data is not what it was.
    """
    if not (folder / FILE).is_file():
        raise ConfigError(f"{folder} holds no training run: there is no {FILE}")
    segments = [json.loads(line) for line in (folder / FILE).read_text(encoding="utf-8").splitlines()]
    # A later start replaces what came after the checkpoint that it went on from.
    chosen = next((segment for segment in reversed(segments) if segment["step"] < step), None)
    if step < 1 or chosen is None:
        raise ConfigError(f"step {step}: steps count from 1")
    config = config_from_tree(chosen["config"])
    if step > config.schedule.steps:
        raise ConfigError(f"step {step}: this run has {config.schedule.steps} steps")
    stream = open_stream(config)
    if stream.fingerprint != chosen["fingerprint"]:
        raise ConfigError("the data is not what this run was trained on: its fingerprint has changed")
    first = chosen["drawn"] + (step - chosen["step"] - 1) * chosen["rows"]
    return stream.places(np.arange(first, first + chosen["rows"]))
