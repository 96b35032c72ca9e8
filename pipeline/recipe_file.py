"""Reads a recipe: TOML and `--set a.b=c` into the typed classes of `pipeline/config.py`, strictly.

A key that is not known or has the wrong type raises `RecipeError`, which names the key and the nearest valid
one.
"""

import dataclasses
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from pipeline.config import PRESETS, Recipe, RecipeError, nearest
from pipeline.recipe_check import check_recipe
from pipeline.rule_sets import with_sets


def packaged_recipes() -> dict[str, Path]:
    """Name to file of the recipes that come with the package."""
    folder = Path(str(resources.files("pipeline.recipes")))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def load_recipe(name_or_path: str, settings: Sequence[str] = ()) -> Recipe:
    """Reads a packaged or given recipe, applies `a.b=c` settings and checks all of it; raises RecipeError."""
    packaged = packaged_recipes()
    path = packaged.get(name_or_path, Path(name_or_path))
    if not path.is_file():
        hint = nearest(name_or_path, packaged)
        raise RecipeError(
            f"no recipe {name_or_path!r}: neither a file nor one of {', '.join(packaged)}{hint}"
        )
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: {error}") from error
    for setting in settings:
        apply_setting(tree, setting)
    return recipe_from_tree(tree)


def recipe_from_tree(tree: Mapping[str, Any]) -> Recipe:
    """Builds and checks a recipe from nested dictionaries (parsed TOML, or the manifest's `recipe`)."""
    recipe = _build(Recipe, _with_rule_sets(_with_preset(tree)), "")
    check_recipe(recipe)
    return recipe


def _with_preset(tree: Mapping[str, Any]) -> Mapping[str, Any]:
    """The recipe with what its MinHash preset gives; a key that the recipe has itself stays."""
    minhash = tree.get("minhash", {})
    preset = PRESETS.get(str(minhash.get("preset"))) if isinstance(minhash, dict) else None
    return tree if preset is None else {**tree, "minhash": {**preset, **minhash}}


def _with_rule_sets(tree: Mapping[str, Any]) -> Mapping[str, Any]:
    """The recipe with the thresholds of the sets that it names."""
    decide = tree.get("decide", {})
    thresholds = decide.get("thresholds", {}) if isinstance(decide, Mapping) else {}
    if not isinstance(thresholds, Mapping) or not all(isinstance(t, Mapping) for t in thresholds.values()):
        return tree  # what is wrong with it is said by _build
    found = {
        kind: {
            language: with_sets(table, f"decide.thresholds.{kind}.{language}")
            if isinstance(table, Mapping)
            else table
            for language, table in by_language.items()
        }
        for kind, by_language in thresholds.items()
    }
    return {**tree, "decide": {**decide, "thresholds": found}}


def recipe_to_tree(recipe: Recipe) -> dict[str, Any]:
    """The recipe as JSON-able dictionaries; `recipe_from_tree` reads it back."""
    return dataclasses.asdict(recipe)


def apply_setting(tree: dict[str, Any], setting: str) -> None:
    """Puts one `a.b=c` into a parsed recipe; `sources.NAME.key` reaches a source by its name."""
    key, equals, text = setting.partition("=")
    if not equals or not key.strip():
        raise RecipeError(f"--set {setting!r}: expected KEY=VALUE, for example decide.validation_share=0.01")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text  # a bare word is a string
    *parents, leaf = key.strip().split(".")
    node: Any = tree
    for depth, part in enumerate(parents):
        if isinstance(node, list):
            names = [source.get("name") for source in node]
            if part not in names:
                raise RecipeError(f"--set {key}: no source {part!r}{nearest(part, map(str, names))}")
            node = node[names.index(part)]
        else:
            node = node.setdefault(part, {})
        if not isinstance(node, dict | list):
            raise RecipeError(f"--set {key}: {'.'.join(parents[: depth + 1])} is a value, not a table")
    if isinstance(node, list):
        raise RecipeError(f"--set {key}: name the source and the key, for example sources.NAME.repeats=2")
    node[leaf] = value


def _build(kind: Any, value: Any, key: str) -> Any:
    """Checks one value of a parsed tree against a type annotation and returns it as that type."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        _expect(value, dict, key or "the recipe")
        members = {member.name: member for member in dataclasses.fields(kind)}
        for name in value:
            if name not in members:
                raise RecipeError(f"unknown key {_join(key, name)}{nearest(name, members)}")
        for name, member in members.items():
            required = member.default is dataclasses.MISSING and member.default_factory is dataclasses.MISSING
            if required and name not in value:
                raise RecipeError(f"missing key {_join(key, name)}")
        hints = typing.get_type_hints(kind)
        return kind(**{name: _build(hints[name], value[name], _join(key, name)) for name in value})
    if origin is types.UnionType:  # only "X | None" and "str | tuple[str, ...]" are used
        if types.NoneType not in arguments:
            inner = next(argument for argument in arguments if (argument is str) == isinstance(value, str))
            return _build(inner, value, key)
        inner = next(argument for argument in arguments if argument is not types.NoneType)
        return None if value is None else _build(inner, value, key)
    if origin is tuple:
        _expect(value, list | tuple, key)
        names = [element.get("name") if isinstance(element, dict) else None for element in value]
        return tuple(
            _build(arguments[0], element, _join(key, str(names[index] or index)))
            for index, element in enumerate(value)
        )
    if origin is not None and issubclass(origin, Mapping):
        _expect(value, dict, key)
        return {name: _build(arguments[1], element, _join(key, name)) for name, element in value.items()}
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    _expect(value, kind, key)
    return value


def _expect(value: Any, kind: Any, key: str) -> None:
    if not isinstance(value, kind) or (
        isinstance(value, bool) and kind is not bool
    ):  # True is an int to Python
        name = "a table" if kind is dict else "a list" if not isinstance(kind, type) else kind.__name__
        raise RecipeError(f"{key} must be {name}, not {value!r}")


def _join(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name
