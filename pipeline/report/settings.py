"""Which keys of a finished run's recipe can be changed without reading, comparing or encoding again."""

from collections.abc import Sequence

import orjson

from pipeline.config import Recipe, RecipeError, nearest
from pipeline.recipe_file import apply_setting, recipe_from_tree, recipe_to_tree
from pipeline.rules import PERPLEXITY_RULES, RULES, groups_of, measured_groups

_SOURCE_KEYS = ("repeats", "weight", "priority")
_MIXTURE_KEYS = {
    "repeats": ("method",),
    "weights": ("method", "tokens", "max_epochs"),
    "temperature": ("method", "by", "temperature", "tokens", "max_epochs"),
}
_PACK_KEYS = ("row_tokens", "shard_rows")
_TEST_KEYS = ("action", "max_hits")
_FROZEN_KEYS = ("repeated", "repeated_characters", "block_lists", "allow_lists")

# What changing a key would mean, by the beginning of the key.
_NEEDS = {
    "annotate": "pages would have to be read and measured again",
    "minhash": "signatures would have to be computed again",
    "deduplicate": "clusters would have to be found again",
    "decide.repeated": "other passages would be cut out, and texts encoded again",
    "decide.repeated_characters": "other passages would be cut out, and texts encoded again",
    "decontaminate": "texts would have to be compared with the evaluation sets again",
    "decide.block_lists": "the lists would have to be read",
    "decide.allow_lists": "the lists would have to be read",
    "pack.vocabulary": "every text would have to be encoded again",
    "seed": "every random choice would fall differently",
    "sources": "other documents would be read",
}


def change_recipe(recipe: Recipe, settings: Sequence[str]) -> Recipe:
    """The recipe with `a.b=c` settings applied; RecipeError for what stored columns cannot answer."""
    tree = orjson.loads(orjson.dumps(recipe_to_tree(recipe)))  # lists, as a parsed file has them
    for setting in settings:
        check_key(recipe, setting.partition("=")[0].strip())
        apply_setting(tree, setting)
    return recipe_from_tree(tree)


def check_key(recipe: Recipe, key: str) -> None:
    """RecipeError, saying why and naming the nearest key that can be simulated, for one that cannot."""
    first, _, rest = key.partition(".")
    allowed = (
        (first == "decide" and rest and rest not in _FROZEN_KEYS)
        or (first == "decontaminate" and rest in _TEST_KEYS)
        or (first == "pack" and rest in _PACK_KEYS)
        or (first == "mixture" and rest in _MIXTURE_KEYS["temperature"])
        or (first == "sources" and rest.rpartition(".")[2] in _SOURCE_KEYS)
    )
    if not allowed:
        needs = next(
            (why for start, why in _NEEDS.items() if key == start or key.startswith(f"{start}.")), None
        )
        why = (
            f"{needs}: that needs a run (`sluice run`, it does only what has changed)"
            if needs
            else "unknown key"
        )
        raise RecipeError(f"--set {key}: {why}{nearest(key, simulated_keys(recipe))}")


def _counted_rules(recipe: Recipe, kind: str) -> list[str]:
    """The rules for a kind whose counts the run has made."""
    made = {*recipe.annotate.measures, *measured_groups(recipe.decide.thresholds, kind)}
    rules = [rule.key for rule in RULES if groups_of(rule) <= made]
    if not recipe.annotate.paragraph_languages:
        rules.remove("min_paragraph_language_share")
    if not recipe.annotate.perplexity:
        rules = [rule for rule in rules if rule not in PERPLEXITY_RULES]
    return ["languages", *rules, *(["buckets"] if recipe.annotate.perplexity else [])]


def simulated_keys(recipe: Recipe) -> list[str]:
    """Every key that simulate takes, as far as this recipe names kinds and languages, and its mixture reads
    it.
    """
    keys = ["decide.survivor", "decide.validation_share", "decide.rehydrate", "decide.licences"]
    keys += [f"pack.{name}" for name in _PACK_KEYS]
    keys += ["decide.perplexity.percentiles"] if recipe.annotate.perplexity else []
    keys += [f"decontaminate.{name}" for name in _TEST_KEYS]
    method = recipe.mixture.method
    keys += [f"mixture.{name}" for name in _MIXTURE_KEYS[method]]
    of_source = ("priority", *{"repeats": ("repeats",), "weights": ("weight",)}.get(method, ()))
    keys += [f"sources.{source.name}.{name}" for source in recipe.sources for name in of_source]
    for kind, by_language in recipe.decide.thresholds.items():
        for language in by_language:
            keys += [f"decide.thresholds.{kind}.{language}.{rule}" for rule in _counted_rules(recipe, kind)]
    return keys
