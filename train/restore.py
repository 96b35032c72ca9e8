"""The model of a training run, in one process: for generation, export and further training of other kinds."""

from pathlib import Path

from model.config import ModelConfig
from model.transformer import Transformer, build
from tokenizer_build.tokenizer import Tokenizer
from train.checkpoint import CheckpointError, Progress, complete_checkpoints, load_tensors, read_progress


def find_checkpoint(run: Path, step: int | None = None) -> Path:
    """The newest complete checkpoint of a run, or that of a step; CheckpointError says which there are."""
    found = complete_checkpoints(run / "checkpoints")
    chosen = [path for path in found if step is None or int(path.name[5:]) == step]
    if not chosen:
        steps = ", ".join(str(int(path.name[5:])) for path in reversed(found)) or "none"
        wanted = "" if step is None else f" of step {step}"
        raise CheckpointError(f"{run} has no complete checkpoint{wanted}; there are: {steps}")
    return chosen[0]


def load_model(path: Path) -> tuple[Transformer, Progress]:
    """The fp32 model of a checkpoint on the CPU, in eval mode, and where its run stood."""
    progress = read_progress(path)
    shape = ModelConfig(**{**progress.model, "windows": tuple(progress.model["windows"])})
    model = build(shape)
    load_tensors(path, {f"model.{name}": value.detach() for name, value in model.named_parameters()})
    return model.eval(), progress


def load_tokenizer(progress: Progress, name: str | None = None) -> Tokenizer:
    """The tokenizer that the run's shards were made with; CheckpointError if it is another or not found."""
    told = progress.vocabulary
    chosen = name or told["path"] or Path(told["file"] or "unknown").stem
    try:
        return Tokenizer.load(chosen, sha256=told["sha256"])
    except (FileNotFoundError, ValueError) as error:
        raise CheckpointError(f"{error}; --vocabulary FILE names the file of the training shards") from None
