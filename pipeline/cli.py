"""The command line: `sluice run | why | simulate | export | sample | takedown | curve | ...`.

Imports are made inside the commands, so that a wrong recipe is refused before Beam or Numba are loaded.
"""

import argparse
import logging
import os
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape

from pipeline.config import UsageError

INTERRUPTED = 130  # as shells report a process that Ctrl-C ended


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses a command line, runs it, returns the exit code; expected errors become one red line."""
    options = build_parser().parse_args(arguments)
    # Worker processes are started by module name; a folder with its own model.py must not get in their way.
    os.environ["PYTHONSAFEPATH"] = "1"
    logging.basicConfig(level=logging.ERROR)  # what libraries warn of, a user cannot act on
    console = Console(stderr=options.command in ("why", "export", "simulate", "sample"))
    try:
        return COMMANDS[options.command](options, console)
    except KeyboardInterrupt:
        console.print("[red]stopped.[/red] Finished parts are kept: run the same command again to go on.")
        return INTERRUPTED
    except (UsageError, FileNotFoundError, PermissionError) as error:
        console.print(f"[red]{escape(str(error))}", highlight=False)
        return 2


def build_parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    parser = argparse.ArgumentParser(prog="sluice", description="Raw pages in, packed token shards out.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="run a recipe into a folder; run again to resume")
    run.add_argument("recipe", help="a packaged recipe by name, or a TOML file")
    run.add_argument("--output", required=True, help="folder, or gs://, s3://, hdfs:// URL")
    run.add_argument(
        "--set", action="append", default=[], metavar="A.B=C", help="change one key of the recipe"
    )
    run.add_argument(
        "--workers", type=int, default=len(os.sched_getaffinity(0)), help="processes (default: all cores)"
    )
    run.add_argument("--runner", default="direct", help="direct, portable, flink, spark, dataflow or prism")
    run.add_argument("--phase", help="only this phase: annotate, deduplicate, decide, pack or report")
    run.add_argument("--accept-missing", action="store_true", help="go on without splits that cannot be read")
    run.add_argument(
        "--beam",
        action="append",
        default=[],
        metavar="FLAG",
        help="pass a flag to Beam, e.g. --beam=--region=…",
    )
    why = commands.add_parser("why", help="the way of one document, or of one training row")
    why.add_argument("output")
    what = why.add_mutually_exclusive_group(required=True)
    what.add_argument("--doc", metavar="ID", help="document id, 32 hex digits")
    what.add_argument("--url", help="every document of this URL")
    what.add_argument("--row", metavar="SHARD:ROW", help="for example train-00000:17")
    why.add_argument("--json", action="store_true", help="JSON for programs")
    simulate = commands.add_parser("simulate", help="what other thresholds, policies or repeats would keep")
    simulate.add_argument("output")
    simulate.add_argument(
        "--set", action="append", default=[], metavar="A.B=C", help="change one key of the recipe"
    )
    simulate.add_argument("--json", action="store_true", help="JSON for programs")
    export = commands.add_parser("export", help="the kept, edited text with its metadata")
    export.add_argument("output")
    export.add_argument("--to", help="folder to write to (default: OUTPUT/export)")
    export.add_argument("--format", choices=("parquet", "jsonl"), default="parquet")
    sample = commands.add_parser("sample", help="documents for review, by source, language or reason")
    sample.add_argument("output")
    sample.add_argument("--stage", default="kept", help="documents, kept (default), dropped or quarantine")
    sample.add_argument("--n", type=int, default=20, help="documents, in equal numbers per stratum")
    sample.add_argument("--by", metavar="A,B", help="strata: source, language, reason")
    sample.add_argument("--seed", type=int, help="another draw (default: the recipe's seed)")
    sample.add_argument("--edited", default="both", help="text before or after its edits, or both (default)")
    sample.add_argument("--format", help="jsonl, parquet or text (default: by the file's name)")
    sample.add_argument("--output", dest="file", help="file to write, mode 0600: the text is not masked")
    takedown = commands.add_parser("takedown", help="take documents out of a finished run, for good")
    takedown.add_argument("output")
    for name, what in (("ids", "document ids"), ("urls", "URLs"), ("domains", "domains")):
        takedown.add_argument(f"--{name}", metavar="FILE", help=f"{what}, one a line; # for comments")
    takedown.add_argument("--dry-run", action="store_true", help="say what would go, and change nothing")
    takedown.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), help="processes")
    curve = commands.add_parser("curve", help="how similar documents must be to be found as duplicates")
    curve.add_argument("recipe", nargs="?", default="web-en-zh", help="a packaged recipe, or a TOML file")
    curve.add_argument("--preset", metavar="NAME", help="with a peer's numbers instead of the recipe's own")
    curve.add_argument("--presets", action="store_true", help="the numbers of all peers")
    curve.add_argument(
        "--set", action="append", default=[], metavar="A.B=C", help="for example deduplicate.threshold=0.8"
    )
    classifier = commands.add_parser("train-classifier", help="a classifier of texts, and how well it does")
    what = {"nargs": "+", "default": [], "metavar": "SOURCE"}
    classifier.add_argument("--positive", **what, help="good texts: files, or RUN:SOURCE of a finished run")
    classifier.add_argument("--negative", **what, help="texts that are not good")
    classifier.add_argument(
        "--class", dest="classes", action="append", default=[], metavar="NAME=SOURCE", help="of another label"
    )
    classifier.add_argument(
        "--output", required=True, help="fastText file to write (.bin); its card beside it"
    )
    classifier.add_argument("--field", default="text", help="of JSONL and Parquet (default: text)")
    classifier.add_argument("--texts", type=int, default=200_000, help="that are read per label, at most")
    classifier.add_argument(
        "--characters", type=int, default=0, help="runs of 1 to so many, not words: 3 for Chinese"
    )
    classifier.add_argument("--buckets", type=int, default=262_144, help="of the file, 4 bytes each")
    classifier.add_argument("--held-out", type=float, default=0.1, help="share of texts that test it")
    classifier.add_argument("--seed", type=int, default=0)
    train_lm = commands.add_parser("train-lm", help="a language model for perplexities, from a run or texts")
    train_lm.add_argument("--to", required=True, metavar="FILE", help="the model; its card is FILE.json")
    train_lm.add_argument("--language", required=True, metavar="CODE", help="as the recipe names it: en, zh")
    train_lm.add_argument(
        "--run", action="append", default=[], metavar="OUTPUT", help="kept text of a finished run"
    )
    train_lm.add_argument(
        "--text",
        action="append",
        default=[],
        metavar="PATH",
        help="files, folders or globs: jsonl, parquet, text",
    )
    train_lm.add_argument("--arpa", metavar="FILE", help="only make a model of this ARPA file")
    train_lm.add_argument("--order", type=int, default=3, help="words of the longest n-grams (default 3)")
    train_lm.add_argument(
        "--prune",
        type=int,
        nargs="+",
        default=(0, 1, 2),
        metavar="N",
        help="by order: n-grams that occur so often at most go (default 0 1 2)",
    )
    train_lm.add_argument("--words", type=int, default=50_000, help="of the vocabulary (default 50,000)")
    train_lm.add_argument(
        "--lmplz", default="lmplz", metavar="FILE", help="KenLM's lmplz (default: on the PATH)"
    )
    train_lm.add_argument("--memory", default="1G", help="that lmplz may take (default 1G)")
    train_lm.add_argument("--about", default="", metavar="TEXT", help="a sentence for the card")
    doctor = commands.add_parser("doctor", help="what is installed and found, and what is missing")
    doctor.add_argument("--warm", action="store_true", help="compile all kernels now")
    return parser


def _run(options: argparse.Namespace, console: Console) -> int:
    from pipeline.recipe_file import load_recipe
    from pipeline.run import RunOptions, check_options, run

    recipe = load_recipe(options.recipe, options.set)
    run_options = RunOptions(
        options.output,
        options.workers,
        options.runner,
        options.phase,
        options.accept_missing,
        tuple(options.beam),
    )
    check_options(run_options)
    return run(recipe, run_options, console)


def _why(options: argparse.Namespace, console: Console) -> int:
    from pipeline.report.why import print_why

    return print_why(options.output, doc=options.doc, url=options.url, row=options.row, as_json=options.json)


def _simulate(options: argparse.Namespace, console: Console) -> int:
    from pipeline.report.simulate import print_simulation

    return print_simulation(options.output, options.set, as_json=options.json)


def _export(options: argparse.Namespace, console: Console) -> int:
    from pipeline.report.export import export_run

    return export_run(options.output, options.to or f"{options.output}/export", options.format, console)


def _sample(options: argparse.Namespace, console: Console) -> int:
    from pipeline.report.sample_view import print_sample

    return print_sample(
        options.output,
        console,
        stage=options.stage,
        n=options.n,
        by=options.by,
        seed=options.seed,
        edited=options.edited,
        format=options.format,
        to=options.file,
    )


def _takedown(options: argparse.Namespace, console: Console) -> int:
    from pipeline.takedown import read_asked, take_down

    asked = read_asked(ids=options.ids, urls=options.urls, domains=options.domains)
    return take_down(options.output, asked, console, dry_run=options.dry_run, workers=options.workers)


def _curve(options: argparse.Namespace, console: Console) -> int:
    from pipeline.recipe_file import load_recipe
    from pipeline.report.curve_view import print_curve, print_presets, with_preset

    recipe = load_recipe(options.recipe, options.set)
    if options.presets:
        print_presets(console)
    else:
        print_curve(console, with_preset(recipe, options.preset) if options.preset else recipe)
    return 0


def _train_classifier(options: argparse.Namespace, console: Console) -> int:
    from pipeline.annotate.classifier_training import Training
    from pipeline.train_classifier import train

    classes = {"positive": options.positive, "negative": options.negative}
    for given in options.classes:
        label, equals, source = given.partition("=")
        if not equals:
            raise UsageError(f"--class {given}: expected NAME=SOURCE")
        classes.setdefault(label, []).append(source)
    classes = {label: sources for label, sources in classes.items() if sources}
    training = Training(
        characters=options.characters, buckets=options.buckets, held_out=options.held_out, seed=options.seed
    )
    most, field = options.texts, options.field
    return train(options.output, classes, console, field=field, most=most, training=training)


def _train_lm(options: argparse.Namespace, console: Console) -> int:
    from pipeline.train_lm import Training, compile_given, train_lm

    if options.arpa:
        return compile_given(options.to, options.arpa, options.language, console)
    shape = (options.order, tuple(options.prune), options.words)
    training = Training(options.language, *shape, options.lmplz, options.memory, options.about)
    return train_lm(options.to, options.run, options.text, training, console)


def _doctor(options: argparse.Namespace, console: Console) -> int:
    from pipeline.doctor import examine

    return examine(console, warm=options.warm)


COMMANDS = {
    "run": _run,
    "why": _why,
    "simulate": _simulate,
    "export": _export,
    "sample": _sample,
    "takedown": _takedown,
    "curve": _curve,
    "train-classifier": _train_classifier,
    "train-lm": _train_lm,
    "doctor": _doctor,
}

if __name__ == "__main__":
    sys.exit(main())
