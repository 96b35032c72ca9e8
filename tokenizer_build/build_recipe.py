"""The recipe of a vocabulary: what it starts from, which text it sees, and in which blocks it grows.

A recipe is TOML; every key that is wrong is told before any work starts, with the nearest valid one. Shares
decide how much a text counts in a block: each text's occurrences are scaled so that a text of share 20 counts
as much as two others of share 10, whatever their sizes. A share names a language ("zh") or one source of it
("zh/lctt"); a source's own share overrides that of its language.
"""

import codecs
import dataclasses
import difflib
import tomllib
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RECIPES = Path(__file__).with_name("recipes")
_KINDS = ("characters", "merges")
_FORMATS = ("jsonl", "python", "packages")


class RecipeError(ValueError):
    """A recipe that cannot be built, with the key that is wrong."""


@dataclass(frozen=True, slots=True)
class Text:
    """One language's documents."""

    language: str  # also "code"
    path: str = ""  # relative to the data folder: .jsonl or .jsonl.gz with {"text", "source"} per line
    format: str = "jsonl"  # or python: this Python's standard library; packages: what is installed beside it
    most_bytes: int = 0  # taken from the front; 0: all


@dataclass(frozen=True, slots=True)
class Block:
    """Tokens added in one go, and the text that decides which."""

    name: str
    kind: str  # characters: each becomes a token, by frequency; merges: BPE over pieces
    shares: Mapping[str, int]  # "zh" or "zh/lctt" -> weight
    tokens: int = 0  # at most; 0: characters: as many as it takes, merges: up to the vocabulary's size
    coverage: float = 1.0  # characters: this part of all characters of the text, the most frequent first
    charsets: tuple[str, ...] = ()  # characters: all of these Python codecs, frequent or not ("gb2312")
    longest_bytes: int = 64  # merges: of one token
    spare: int = 0  # merges: so many more are made, and the least widely used taken out again


@dataclass(frozen=True, slots=True)
class BuildRecipe:
    """All of a build but the data folder."""

    name: str
    ranks: int
    texts: tuple[Text, ...]
    blocks: tuple[Block, ...]
    start: str = "bytes"  # or a vocabulary that `find_vocabulary` knows
    single_digits: bool = False  # take multi-digit tokens out of the start vocabulary, closing up the ids
    purpose: str = ""
    pattern: str = "qwen"  # or cl100k
    held_back: int = 10  # every so many documents one is kept out of the building; 0: none
    baselines: tuple[str, ...] = ()  # vocabularies to compare with on what was held back


def load_build_recipe(name_or_path: str) -> BuildRecipe:
    """A packaged recipe or a .toml file, checked; RecipeError names the key that is wrong."""
    packaged = {path.stem: path for path in sorted(RECIPES.glob("*.toml"))}
    path = packaged.get(name_or_path, Path(name_or_path))
    if not path.is_file():
        raise RecipeError(
            f"no build recipe {name_or_path!r}: neither a file nor one of {', '.join(packaged)}"
            f"{_nearest(name_or_path, packaged)}"
        )
    try:
        tree = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: {error}") from error
    return build_recipe(tree)


def build_recipe(tree: Mapping[str, Any]) -> BuildRecipe:
    """A checked recipe from parsed TOML (or a card's `recipe`)."""
    recipe = _typed(BuildRecipe, tree, "")
    _check(recipe)
    return recipe


def _check(recipe: BuildRecipe) -> None:
    def one_of(value: str, valid: Iterable[str], key: str) -> None:
        if value not in valid:
            raise RecipeError(f"{key} is {value!r}, not one of {', '.join(valid)}{_nearest(value, valid)}")

    if recipe.ranks < 256:
        raise RecipeError(f"ranks is {recipe.ranks}: the 256 bytes alone are more")
    if recipe.held_back < 0 or recipe.held_back == 1:
        raise RecipeError(f"held_back is {recipe.held_back}: 0 for none, or 2 and more")
    one_of(recipe.pattern, ("qwen", "cl100k"), "pattern")
    if not recipe.texts or not recipe.blocks:
        raise RecipeError("a recipe needs [[texts]] and [[blocks]]")
    languages = {text.language for text in recipe.texts}
    for text in recipe.texts:
        one_of(text.format, _FORMATS, f"texts.{text.language}.format")
    for block in recipe.blocks:
        key = f"blocks.{block.name}"
        one_of(block.kind, _KINDS, f"{key}.kind")
        if not block.shares and not block.charsets:
            raise RecipeError(f"{key}.shares is empty: it names the text that decides")
        for share, value in block.shares.items():
            one_of(share.split("/")[0], sorted(languages), f"{key}.shares")
            if value < 0:
                raise RecipeError(f"{key}.shares.{share} is {value}, below 0")
        for charset in block.charsets:
            try:
                codecs.lookup(charset)
            except LookupError:
                raise RecipeError(f"{key}.charsets: Python has no codec {charset!r}") from None
        if not 0 < block.coverage <= 1:
            raise RecipeError(f"{key}.coverage is {block.coverage}, not above 0 and at most 1")
        for name in ("tokens", "spare", "longest_bytes"):
            if getattr(block, name) < (1 if name == "longest_bytes" else 0):
                raise RecipeError(f"{key}.{name} is {getattr(block, name)}")


def _typed(kind: Any, value: Any, key: str) -> Any:
    """A parsed value as the annotated type: dataclasses, tuples of them, mappings and plain values."""
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        if not isinstance(value, Mapping):
            raise RecipeError(f"{key} must be a table, not {value!r}")
        members = {member.name: member for member in dataclasses.fields(kind)}
        for name in value:
            if name not in members:
                raise RecipeError(f"unknown key {_join(key, name)}{_nearest(name, members)}")
        for name, member in members.items():
            if name not in value and member.default is dataclasses.MISSING:
                raise RecipeError(f"missing key {_join(key, name)}")
        hints = typing.get_type_hints(kind)
        return kind(**{name: _typed(hints[name], each, _join(key, name)) for name, each in value.items()})
    origin = typing.get_origin(kind)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise RecipeError(f"{key} must be a list, not {value!r}")
        inner = typing.get_args(kind)[0]
        named = [each.get("name", each.get("language")) if isinstance(each, dict) else None for each in value]
        return tuple(_typed(inner, each, _join(key, str(named[i] or i))) for i, each in enumerate(value))
    if origin is not None:
        if not isinstance(value, Mapping):
            raise RecipeError(f"{key} must be a table, not {value!r}")
        return {name: _typed(int, each, _join(key, name)) for name, each in value.items()}
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise RecipeError(f"{key} must be {getattr(kind, '__name__', kind)}, not {value!r}")
    return value


def _join(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


def _nearest(name: str, valid: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(valid), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
