"""The command `sluice-tokenizer`: build a vocabulary, add words to one, compare vocabularies, export one.

Exit codes: 0 done, 2 wrong arguments, recipe or files.
"""

import argparse
import json
import sys
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from tokenizer_build.add_merges import add_words, read_words, write_additions
from tokenizer_build.build import build_card, build_tokens, check_tokens, count_corpus, recipe_pattern
from tokenizer_build.build_recipe import load_build_recipe
from tokenizer_build.compare import (
    Compared,
    as_table,
    chinese_bands,
    load_compared,
    measure,
    read_texts,
    to_json,
    total,
)
from tokenizer_build.compare_view import bar_picture, checks_table, text_table
from tokenizer_build.export import to_tokenizer_json
from tokenizer_build.reachability import find_unreachable
from tokenizer_build.vocabulary import PATTERNS, card_path, find_vocabulary, load_ranks, write_ranks


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="sluice-tokenizer", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="train a vocabulary as a recipe says")
    build.add_argument("recipe", help="a packaged name (sluice-152k, bytes-32k) or a .toml file")
    build.add_argument("--data", type=Path, required=True, help="folder of the texts that the recipe names")
    build.add_argument("--output", type=Path, required=True, help="folder for NAME.tiktoken and its card")
    add = commands.add_parser("add", help="add words with frequencies to a finished vocabulary")
    add.add_argument("vocabulary")
    add.add_argument("words", type=Path, help="lines of WORD<TAB>FREQUENCY")
    add.add_argument("output", type=Path, help="file for the new tokens alone: BASE64 ID")
    add.add_argument("--start-id", type=int, default=0, help="first new id (default: the number of ranks)")
    compare = commands.add_parser("compare", help="compare vocabularies on texts")
    compare.add_argument("vocabularies", nargs="+", help="names or .tiktoken files; o200k_base too")
    compare.add_argument(
        "--text", action="append", required=True, metavar="NAME=PATH", help=".jsonl[.gz], folder or file"
    )
    compare.add_argument("--baseline", help="what tokens are relative to (default: the first vocabulary)")
    compare.add_argument("--chinese", metavar="NAME", help="text that gives the frequency of characters")
    compare.add_argument("--figure", type=Path, help="write a bar picture (.svg)")
    compare.add_argument("--json", type=Path, help="write all measures")
    compare.add_argument("--card", metavar="SECTION", help="add the table to the first vocabulary's card")
    export = commands.add_parser("export", help="write Hugging Face tokenizer.json with the same ids")
    export.add_argument("vocabulary")
    export.add_argument("output", type=Path)
    options = parser.parse_args(arguments)
    console = Console(width=None if sys.stdout.isatty() else 200)
    try:
        run = {"build": _build, "add": _add, "compare": _compare, "export": _export}[options.command]
        return run(options, console)
    except (ValueError, OSError) as error:
        message = "".join(c if c.isprintable() else " " for c in str(error))
        print(f"sluice-tokenizer: {message}", file=sys.stderr)
        return 2


def _build(options: argparse.Namespace, console: Console) -> int:
    recipe = load_build_recipe(options.recipe)
    baselines = _installed(recipe.baselines, console)
    options.output.mkdir(parents=True, exist_ok=True)
    corpus = count_corpus(recipe, options.data)
    merges, blocks = build_tokens(recipe, corpus, console.print)
    check_tokens(merges)
    path = options.output / f"{recipe.name}.tiktoken"
    sha256 = write_ranks(path, merges.tokens)
    card = build_card(recipe, corpus, blocks, merges, sha256)
    unreachable = find_unreachable(merges.tokens, PATTERNS[recipe_pattern(recipe)])
    inherited = blocks[0]["tokens"]
    card["unreachable"] = {
        "tokens": [each._asdict() for each in unreachable],
        "note": f"tokens that no text gives; those below id {inherited} came with the start vocabulary",
    }
    if any(each.token_id >= inherited for each in unreachable):
        raise ValueError(f"{path}: new tokens that no text gives: {unreachable[-1]}; was the text not NFC?")
    _write_card(path, card)
    if corpus.held_back:
        compared = [load_compared(str(path)), *baselines]
        measures = measure(compared, corpus.held_back)
        measures += total(measures, [text for text in corpus.held_back if text != "code"], "all languages")
        baseline = compared[-1 if len(compared) == 1 else 1].name
        card["held_back_compression"] = as_table(measures, baseline)
        _write_card(path, card)
        console.print(text_table(measures, baseline))
    console.print(f"{path}: {len(merges.tokens):,} ranks, sha256 {sha256}")
    return 0


def _installed(names: Sequence[str], console: Console) -> list[Compared]:
    """The baselines that are there; of the others it is said that they are not."""
    found = []
    for name in names:
        try:
            found.append(load_compared(name))
        except FileNotFoundError as error:
            console.print(f"not compared with {name}: {error}", markup=False)
    return found


def _write_card(path: Path, card: dict) -> None:
    card_path(path).write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", "utf-8")


def _add(options: argparse.Namespace, console: Console) -> int:
    _, ranks = load_ranks(find_vocabulary(options.vocabulary), sha256=None)
    words, warnings = read_words(options.words)
    additions, more = add_words(list(ranks), words, start_id=options.start_id)
    for warning in warnings + more:
        console.print(warning, markup=False)
    write_additions(options.output, additions)
    console.print(f"{options.output}: {len(additions)} tokens")
    return 0


def _compare(options: argparse.Namespace, console: Console) -> int:
    texts = {}
    for pair in options.text:
        name, equals, path = pair.partition("=")
        if not equals:
            raise ValueError(f"--text {pair!r}: expected NAME=PATH")
        texts[unicodedata.normalize("NFC", name)] = read_texts(Path(path))
    compared = [load_compared(name) for name in options.vocabularies]
    names = [each.name for each in compared]
    baseline = options.baseline or names[0]
    if baseline not in names:
        raise ValueError(f"--baseline {baseline!r} is none of the vocabularies {', '.join(names)}")
    if options.chinese and options.chinese not in texts:
        raise ValueError(f"--chinese {options.chinese!r} is none of the texts {', '.join(texts)}")
    measures = measure(compared, texts)
    measures += total(measures, list(texts), "all")
    bands = chinese_bands(compared, texts[options.chinese]) if options.chinese else []
    console.print(text_table(measures, baseline))
    console.print(checks_table(compared, bands))
    console.print("every document came back from encoding and decoding unchanged")
    if options.figure:
        options.figure.write_text(bar_picture(measures, baseline), "utf-8")
    if options.json:
        options.json.write_bytes(to_json(measures))
    if options.card:
        path = find_vocabulary(options.vocabularies[0])
        card = json.loads(card_path(path).read_text("utf-8"))
        card[options.card] = as_table(measures, baseline)
        if bands:
            card["chinese_characters"] = bands
        _write_card(path, card)
    return 0


def _export(options: argparse.Namespace, console: Console) -> int:
    content = json.dumps(to_tokenizer_json(options.vocabulary), ensure_ascii=False, indent=1)
    options.output.write_text(content, "utf-8")
    console.print(f"{options.output}: written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
