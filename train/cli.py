"""The command line: `sluice-train pretrain | generate | rows | plot | export`.

Imports are made inside the commands, so that a wrong recipe is refused before torch is loaded.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

INTERRUPTED = 130  # as shells report a process that Ctrl-C ended


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses a command line, runs it, returns the exit code; expected errors become one line."""
    options = build_parser().parse_args(arguments)
    # OpenMP, which torch reads this for when it is loaded, lets threads spin while they wait for each other.
    # On a machine that does other work too, that doubled the time of the quickstart.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        return COMMANDS[options.command](options)
    except KeyboardInterrupt:
        print("stopped; the same command goes on from the newest checkpoint", file=sys.stderr)
        return INTERRUPTED
    except (ValueError, FileNotFoundError, FileExistsError, PermissionError) as error:
        print(error, file=sys.stderr)
        return 2


def build_parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    parser = argparse.ArgumentParser(prog="sluice-train", description="Token shards in, a model out.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    pretrain = commands.add_parser("pretrain", help="train a recipe; run again to resume")
    pretrain.add_argument("recipe", help="a packaged recipe by name, or a TOML file")
    pretrain.add_argument("--data", metavar="DIR", help="output folder of a `sluice run` (data.sources)")
    pretrain.add_argument("--output", metavar="DIR", help="folder of the training run (output)")
    pretrain.add_argument(
        "--set", action="append", default=[], metavar="A.B=C", help="change one key of the recipe"
    )
    pretrain.add_argument(
        "--skip", action="append", default=[], metavar="A:B", help="leave out samples A to B-1 (data.skip)"
    )
    generate = commands.add_parser("generate", help="complete prompts with a trained model")
    generate.add_argument("run", help="folder of a training run")
    generate.add_argument("--prompt", action="append", required=True, metavar="TEXT", help="may be repeated")
    generate.add_argument("--step", type=int, help="of this checkpoint (default: the newest)")
    generate.add_argument("--tokens", type=int, default=100, help="at most so many new tokens")
    generate.add_argument("--temperature", type=float, default=0.8, help="0: always the most probable token")
    generate.add_argument("--top-k", type=int, default=0)
    generate.add_argument("--top-p", type=float, default=0.95)
    generate.add_argument("--repetition-penalty", type=float, default=1.0)
    generate.add_argument("--seed", type=int, default=0)
    generate.add_argument("--vocabulary", metavar="FILE", help="the .tiktoken file of the training shards")
    rows = commands.add_parser("rows", help="the rows and documents that a step trained on")
    rows.add_argument("run", help="folder of a training run")
    rows.add_argument("--step", type=int, required=True, help="1 is the first")
    rows.add_argument("--json", action="store_true", help="JSON for programs")
    plot = commands.add_parser("plot", help="draw the curves of a run (SVG)")
    plot.add_argument("run", help="folder of a training run")
    plot.add_argument("--to", metavar="FILE", help="default: curves.svg in the run's folder")
    export = commands.add_parser("export", help="write the weights as safetensors for other programs")
    export.add_argument("run", help="folder of a training run")
    export.add_argument("--to", metavar="DIR", required=True, help="new folder")
    export.add_argument("--step", type=int, help="of this checkpoint (default: the newest)")
    export.add_argument("--layout", choices=("qwen", "qwen2"), default="qwen2", help="names and config.json")
    export.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    return parser


def _pretrain(options: argparse.Namespace) -> int:
    from train.pretrain import config_of, pretrain

    return pretrain(config_of(options))


def _generate(options: argparse.Namespace) -> int:
    from model.generate import generate
    from model.sampling import Sampling
    from train.restore import find_checkpoint, load_model, load_tokenizer

    sampling = Sampling(
        options.temperature, options.top_k, options.top_p, options.repetition_penalty, options.seed
    )
    model, progress = load_model(find_checkpoint(Path(options.run), options.step))
    tokenizer = load_tokenizer(progress, options.vocabulary)
    end = tokenizer.vocabulary.eot
    prompts = [tokenizer.encode(prompt) or [end] for prompt in options.prompt]
    found = generate(model, prompts, max_new_tokens=options.tokens, sampling=sampling, stop=[[end]])
    for prompt, completion in zip(options.prompt, found, strict=True):
        # Ids of padding rows of the embedding are never trained, but could be drawn.
        ids = [token for token in completion.ids if token < tokenizer.vocabulary.n_vocab]
        print(printable(prompt + tokenizer.decode(ids)))
    return 0


def printable(text: str) -> str:
    """The text without characters that could steer a terminal."""
    return "".join(character if character.isprintable() or character in "\n\t" else "�" for character in text)


def _rows(options: argparse.Namespace) -> int:
    import dataclasses

    from train.lineage import places_of_step
    from train.pretrain import print_places

    places = places_of_step(Path(options.run), options.step)
    if options.json:
        print(json.dumps([dataclasses.asdict(place) for place in places], indent=1))
        return 0
    print_places(places, sys.stdout)
    print(f"`sluice why {places[0].folder} --row {places[0].name}` tells where the text came from")
    return 0


def _plot(options: argparse.Namespace) -> int:
    from train.plot import plot

    print(plot(Path(options.run), Path(options.to) if options.to else None))
    return 0


def _export(options: argparse.Namespace) -> int:
    import torch

    from model.weights import save_checkpoint
    from train.restore import find_checkpoint, load_model

    model, progress = load_model(find_checkpoint(Path(options.run), options.step))
    save_checkpoint(
        model.state_dict(),
        model.config,
        options.to,
        layout=options.layout,
        dtype=getattr(torch, options.dtype),
        eos=progress.vocabulary["eot"],
    )
    print(options.to)
    return 0


COMMANDS = {"pretrain": _pretrain, "generate": _generate, "rows": _rows, "plot": _plot, "export": _export}

if __name__ == "__main__":
    sys.exit(main())
