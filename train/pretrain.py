"""Pretraining, from shards to checkpoints: `torchrun train/pretrain.py RECIPE --data DIR --output DIR`.

The same command goes on from the newest complete checkpoint of its output folder, with any number of ranks.
SIGTERM (a scheduler that wants the machine back) saves and ends with exit code 143. A loss that is no number
ends with exit code 4 and the documents of that step; the update was left out, and nothing is saved after it.
"""

import argparse
import dataclasses
import gc
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # torchrun puts this folder first on the path, where its modules would hide others
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import torch

from model.transformer import Transformer
from train.checkpoint import (
    Checkpointer,
    CheckpointError,
    Progress,
    complete_checkpoints,
    load_tensors,
    read_progress,
    tensors_of,
)
from train.config import Config, ConfigError, Source, load_config, model_config
from train.data import Place, Stream, prefetch
from train.lineage import note_segment, open_stream, places_of_step
from train.loop import LanguageModel, language_losses, step_batches, update
from train.metrics import NonFiniteError, Recorder
from train.optimizer import SpikeGuard, build_optimizer
from train.order import ORDER
from train.parallel import World, open_world, prepare
from train.rows import TokenRows
from train.schedule import learning_rate
from train.validation import token_bytes, validate, vocabulary_file

DONE, NOT_FINITE, TERMINATED = 0, 4, 143
COLLECT_EVERY = 500  # steps between garbage collections, which would otherwise pause ranks at random


def rows_per_step(config: Config, row_tokens: int, world: World) -> int:
    """Rows of one update; ConfigError, naming the nearest number of tokens that divides, if it does not."""
    share = world.size * config.batch.micro_rows
    rows = config.batch.tokens // row_tokens
    if rows * row_tokens != config.batch.tokens or rows % share or not rows:
        nearest = max(1, round(config.batch.tokens / row_tokens / share)) * share * row_tokens
        raise ConfigError(
            f"batch.tokens = {config.batch.tokens}: must be a multiple of {share * row_tokens}, that is"
            f" {world.size} ranks x {config.batch.micro_rows} micro_rows x {row_tokens} tokens a row;"
            f" the nearest is {nearest}"
        )
    return rows


def check_progress(found: Progress, now: Progress, path: Path) -> None:
    """CheckpointError unless a run can go on from `found` as `now` (data, order and model of the recipe)."""
    if found.model != now.model:
        changed = sorted(key for key in now.model if now.model[key] != found.model.get(key))
        raise CheckpointError(f"{path} has another model: {', '.join(changed)} differ; take another --output")
    if (found.order, found.fingerprint) != (now.order, now.fingerprint):
        raise CheckpointError(
            f"{path} was trained on other data, or in another order (sources, weights, data.seed,"
            " data.shuffle_window): take another --output"
        )
    last = found.drawn + sum(b - a for a, b in found.skips)
    before = [[(a, min(b, last)) for a, b in skips if a < last] for skips in (found.skips, now.skips)]
    if before[0] != before[1]:
        raise CheckpointError(
            f"data.skip changes samples before {last}, which {path} has drawn already:"
            " skip later ones, or go on from an earlier checkpoint"
        )


@contextmanager
def _terminable() -> Iterator[list[int]]:
    """A list that is no longer empty once SIGTERM has come."""
    got: list[int] = []
    old = signal.signal(signal.SIGTERM, lambda number, frame: got.append(number))
    try:
        yield got
    finally:
        signal.signal(signal.SIGTERM, old)


def pretrain(config: Config) -> int:
    """Runs a recipe to its end, or on to it; returns the exit code."""
    if not config.output:
        raise ConfigError("output is empty: give --output FOLDER")
    sources = [dataclasses.replace(s, path=str(Path(s.path).resolve())) for s in config.data.sources]
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, sources=tuple(sources)))
    stream = open_stream(config)
    with open_world(config.parallel) as world, _terminable() as terminated:
        try:
            return _train(config, stream, world, terminated)
        except NonFiniteError as error:
            if world.rank == 0:
                print(f"{error}. The update was left out. Its rows and documents:", file=sys.stderr)
                print_places(places_of_step(Path(config.output), error.step), sys.stderr)
            return NOT_FINITE


def _train(config: Config, stream: Stream, world: World, terminated: list[int]) -> int:
    output, first = Path(config.output), stream.datasets[0]
    rows = rows_per_step(config, stream.row_tokens, world)
    shape = model_config(config.model, first.n_vocab, stream.row_tokens)
    torch.set_float32_matmul_precision("high")
    with torch.device("meta"):
        objective = LanguageModel(Transformer(shape), config.loss)
    model = objective.model
    module = prepare(objective, model, config.parallel, world, config.seed)
    optimizer = build_optimizer(model, config.optimizer)
    guard = SpikeGuard(config.optimizer.skip_window, config.optimizer.skip_sigmas, world.device)
    validation = [TokenRows(source.path, "validation") for source in config.data.sources]
    validation = [dataset for dataset in validation if dataset.rows]
    path = vocabulary_file(config.data, first.told_vocabulary)
    sizes = None if path is None else token_bytes(path, shape.n_vocab)

    checkpoints = Checkpointer(output / "checkpoints", config.checkpoints.keep, world)
    progress = Progress(
        order=ORDER,
        fingerprint=stream.fingerprint,
        skips=stream.skips,
        model=dataclasses.asdict(shape) | {"windows": list(shape.windows)},
        config=dataclasses.asdict(config),
        vocabulary={**first.told_vocabulary, "path": config.data.vocabulary},
    )
    tensors = tensors_of(model, optimizer, guard)
    found = complete_checkpoints(checkpoints.folder)
    if found:
        earlier = read_progress(found[0])
        check_progress(earlier, progress, found[0])
        load_tensors(found[0], tensors, world)
        progress.step, progress.drawn = earlier.step, earlier.drawn
        if progress.step >= config.schedule.steps:
            if world.rank == 0:
                print(f"{found[0]}: all {config.schedule.steps} steps are done (schedule.steps)")
            return DONE
    recorder = Recorder(
        output, shape, stream.row_tokens, world.device, ranks=world.size, writes=world.rank == 0
    )
    why = recorder.open(peak_tflops=config.log.peak_tflops, tensorboard=config.log.tensorboard)
    if world.rank == 0:
        asked = {"step": progress.step, "drawn": progress.drawn, "rows": rows}
        note_segment(output, progress.config, **asked, fingerprint=stream.fingerprint)
        _print_start(config, shape.parameters, rows, stream, world, progress.step, why)

    def check_loss() -> None:
        told = validate(
            objective,
            validation,
            sizes,
            world,
            rows=config.log.validation_rows,
            micro_rows=config.batch.micro_rows,
            document_mask=config.data.document_mask,
            settings=config.parallel,
            module=module,
        )
        recorder.note(step=progress.step, **told)
        if world.rank == 0:
            bits = told["bits_per_byte"]
            told_bits = "" if bits is None else f", {bits:.4f} bits per byte"
            print(f"{progress.step:8d} validation loss {told['validation_loss']:.4f}{told_bits}", flush=True)

    def flush() -> None:
        rate = learning_rate(max(0, progress.step - 1), config.schedule)
        told = recorder.flush(rate)
        if told is not None and world.rank == 0:
            print(_line(told), flush=True)

    validates = bool(validation) and config.log.validate_every > 0 and config.log.validation_rows > 0
    if validates and progress.step == 0:
        check_loss()
        recorder.restart_clock()
    batches = prefetch(step_batches(stream, progress.drawn, rows, config.batch.micro_rows, world))
    stopping = False
    gc.disable()
    try:
        while progress.step < config.schedule.steps and not stopping:
            waited = time.perf_counter()
            batch = next(batches)
            waited = time.perf_counter() - waited
            rate = learning_rate(progress.step, config.schedule)
            losses = language_losses(module, batch, config.batch.micro_rows, config.parallel, world)
            told = update(module, optimizer, guard, losses, world, rate=rate, clip=config.optimizer.clip)
            progress.step, progress.drawn = progress.step + 1, progress.drawn + rows
            recorder.add(progress.step, *told, tokens=rows * stream.row_tokens, waited=waited)
            stopping = world.any(bool(terminated))
            last = stopping or progress.step == config.schedule.steps
            save = last or _is_due(progress.step, config.checkpoints.every)
            check = validates and (last or _is_due(progress.step, config.log.validate_every)) and not stopping
            if save or check or _is_due(progress.step, config.log.every):
                flush()
            if check:
                check_loss()
            if save:
                checkpoints.save(tensors, progress)
                if not config.checkpoints.asynchronous:
                    checkpoints.wait()
            checkpoints.poll()
            if check or save:
                recorder.restart_clock()
            if progress.step % COLLECT_EVERY == 0:
                gc.collect()
        checkpoints.wait()
    except NonFiniteError:  # on all ranks alike: what was being written is finished
        checkpoints.wait()
        raise
    finally:
        gc.enable()
        batches.close()
    return TERMINATED if stopping else DONE


def _is_due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def _print_start(
    config: Config, parameters: int, rows: int, stream: Stream, world: World, step: int, why: str
) -> None:
    total = sum(dataset.rows for dataset in stream.datasets)
    print(
        f"{config.name}: {parameters:,} parameters on {world.size} x {world.device.type}; {rows} of {total:,}"
        f" rows of {stream.row_tokens} tokens per step, {config.schedule.steps:,} steps"
        + (f"; goes on after step {step}" if step else "")
        + (f"; no MFU: {why}" if why else "")
    )
    print(
        f"{'step':>8s} {'loss':>8s} {'grad':>7s} {'rate':>9s} {'tokens/s':>10s} {'MFU':>6s} {'GiB':>6s} wait"
    )


def _line(told: dict[str, Any]) -> str:
    mfu = "" if told["mfu"] is None else f"{told['mfu']:.1%}"
    skipped = f"  left out: {told['skipped']}" if told["skipped"] else ""
    return (
        f"{told['step']:8d} {told['loss']:8.4f} {told['grad_norm']:7.3f} {told['lr']:9.2e}"
        f" {told['tokens_per_s']:10,.0f} {mfu:>6s} {told['peak_gib']:6.2f} {told['data_wait']:.1%}{skipped}"
    )


def print_places(places: Sequence[Place], file: Any) -> None:
    """One line per row: its sample, its name for `sluice why`, and the documents in it (part:row#copy)."""
    for place in places:
        told = " ".join(f"{p.locator >> 32}:{p.locator & 0xFFFFFFFF}#{p.copy}" for p in place.pieces)
        print(f"sample {place.sample}  {place.name}  {place.folder}  documents {told}", file=file)


def config_of(options: argparse.Namespace) -> Config:
    """The recipe with what the command line changes in it."""
    config = load_config(options.recipe, options.set)
    data = config.data
    if options.data:
        data = dataclasses.replace(data, sources=(Source(options.data),))
    data = dataclasses.replace(data, skip=data.skip + tuple(options.skip))
    return dataclasses.replace(config, data=data, output=options.output or config.output)


if __name__ == "__main__":
    from train.cli import main

    sys.exit(main(["pretrain", *sys.argv[1:]]))
