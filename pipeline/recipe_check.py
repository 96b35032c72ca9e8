"""The checks that hold before any work starts: an impossible value raises `RecipeError`, which names the key
and the nearest valid word.

Nothing here touches a file.
"""

import dataclasses
import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

from pipeline.config import (
    ACTIONS,
    ALL_KINDS,
    COMPONENTS,
    ENGINES,
    EVALUATION_FORMATS,
    FOLDS,
    FORMATS,
    GROUPINGS,
    HASHES,
    KINDS,
    MAX_COPIES,
    MAX_ROUNDS,
    METHODS,
    PRESETS,
    REPEATED,
    SURVIVOR_KEYS,
    UNITS,
    VERIFIERS,
    Annotate,
    Decontaminate,
    Deduplicate,
    Minhash,
    Mixture,
    Recipe,
    RecipeError,
    Source,
    Thresholds,
    nearest,
)
from pipeline.counts import MEASURE_GROUPS, WORD_CATEGORIES
from pipeline.perplexity_check import check_perplexity


def check_recipe(recipe: Recipe) -> None:
    """Raises RecipeError for values that no run could use, naming the key."""
    if not recipe.sources:
        raise RecipeError("sources is empty: give at least one [[sources]]")
    names: set[str] = set()
    for source in recipe.sources:
        key = f"sources.{source.name}"
        if not re.fullmatch(r"[a-z0-9_-]+", source.name):
            raise RecipeError(f"sources: name {source.name!r} must be of a-z, 0-9, _ and -")
        if source.name in names:
            raise RecipeError(f"sources: two are named {source.name!r}")
        names.add(source.name)
        _one_of(source.kind, KINDS, f"{key}.kind")
        _one_of(source.format, FORMATS, f"{key}.format")
        if not source.paths:
            raise RecipeError(f"{key}.paths is empty")
        _within(source.repeats, 0, 1000, f"{key}.repeats")
        _within(source.dump, 0, 10_000, f"{key}.dump")
        _check_fields(source, f"{key}.fields")
    annotate, minhash, decide, pack = recipe.annotate, recipe.minhash, recipe.decide, recipe.pack
    _one_of(annotate.engine, ENGINES, "annotate.engine")
    for category in annotate.word_lists:
        _one_of(category, WORD_CATEGORIES, "annotate.word_lists")
    for models in ("quality_models", "toxicity_models"):
        for language, model in getattr(annotate, models).items():
            if not model.labels:
                raise RecipeError(f"annotate.{models}.{language}.labels is empty: whose probability is it?")
    _within(annotate.fallback_doubt, 0, 0.5, "annotate.fallback_doubt")
    if annotate.fallback_doubt < 0.5 and annotate.engine != "main_text":
        raise RecipeError(
            f"annotate.fallback_doubt = {annotate.fallback_doubt} needs annotate.engine = 'main_text': "
            f"{annotate.engine} does not tell how sure it is"
        )
    for group in annotate.measures:
        _one_of(group, tuple(MEASURE_GROUPS), "annotate.measures")
    for name in ("split_bytes", "max_record_bytes", "max_page_bytes"):
        _within(getattr(annotate, name), 1 << 10, 1 << 31, f"annotate.{name}")
    _within(annotate.max_ratio, 2, 1_000_000, "annotate.max_ratio")
    _within(annotate.cpu_seconds, 0.1, 3600, "annotate.cpu_seconds")
    _within(annotate.memory_bytes, 1 << 27, 1 << 40, "annotate.memory_bytes")
    _within(annotate.gate.sample, 0, 1, "annotate.gate.sample")
    _within(annotate.gate.min_characters, 0, 1 << 31, "annotate.gate.min_characters")
    _within(recipe.seed, 0, (1 << 63) - 1, "seed")
    _check_minhash(minhash)
    _check_deduplicate(recipe.deduplicate, minhash)
    _within(decide.validation_share, 0, 1, "decide.validation_share")
    for name in decide.survivor:
        _one_of(name, SURVIVOR_KEYS, "decide.survivor")
    if len(set(decide.survivor)) < len(decide.survivor):
        raise RecipeError("decide.survivor names a key twice")
    _one_of(decide.repeated, REPEATED, "decide.repeated")
    _within(decide.repeated_characters, 1, 1 << 31, "decide.repeated_characters")
    for source in recipe.sources:
        _check_licence(source, decide.licences)
    for name in ("licences", "block_lists", "allow_lists"):
        if not all(getattr(decide, name)):
            raise RecipeError(f"decide.{name} holds an empty name")
    _check_mixture(recipe)
    _check_rehydrate(decide.rehydrate, most=most_repeats(recipe))
    for kind, by_language in decide.thresholds.items():
        _one_of(kind, (*KINDS, "default"), "decide.thresholds")
        for language, thresholds in by_language.items():
            _check_thresholds(thresholds, f"decide.thresholds.{kind}.{language}")
            _check_scored(annotate, thresholds, language, f"decide.thresholds.{kind}.{language}")
            if thresholds.min_paragraph_language_share is not None and not annotate.paragraph_languages:
                raise RecipeError(
                    f"decide.thresholds.{kind}.{language}.min_paragraph_language_share compares nothing: set "
                    "annotate.paragraph_languages = true"
                )
    check_perplexity(recipe)
    _check_decontaminate(recipe.decontaminate, [source.kind for source in recipe.sources])
    _within(pack.row_tokens, 2, 1 << 20, "pack.row_tokens")
    _within(pack.shard_rows, 1, 1 << 22, "pack.shard_rows")


def _check_minhash(minhash: Minhash) -> None:
    _one_of(minhash.preset, tuple(PRESETS), "minhash.preset")
    _one_of(minhash.unit, UNITS, "minhash.unit")
    _one_of(minhash.hash, HASHES, "minhash.hash")
    _within(minhash.shingle, 1, 100, "minhash.shingle")
    _within(minhash.bands, 1, 1000, "minhash.bands")
    _within(minhash.rows, 1, 1000, "minhash.rows")
    _within(minhash.bands * minhash.rows, 1, 16_384, "minhash.bands * minhash.rows")
    _within(minhash.seed, 0, (1 << 32) - 1, "minhash.seed")
    _within(minhash.max_characters, 100, 1 << 31, "minhash.max_characters")


def _check_deduplicate(deduplicate: Deduplicate, minhash: Minhash) -> None:
    _one_of(deduplicate.fold, FOLDS, "deduplicate.fold")
    _one_of(deduplicate.verify, VERIFIERS, "deduplicate.verify")
    _one_of(deduplicate.components, COMPONENTS, "deduplicate.components")
    _within(deduplicate.threshold, 0, 1, "deduplicate.threshold")
    _within(deduplicate.max_bucket, 2, 1 << 24, "deduplicate.max_bucket")
    _within(deduplicate.rounds, 1, MAX_ROUNDS, "deduplicate.rounds")
    if minhash.unit == "tokens" and minhash.hash == "datasketch":
        raise RecipeError("minhash.hash = 'datasketch' hashes text: minhash.unit must be words or characters")


def _check_rehydrate(steps: tuple[tuple[int, ...], ...], *, most: float) -> None:
    """`most`: the largest repeats of a source, which the factors multiply."""
    sizes = [step[0] for step in steps if len(step) == 2]
    if len(sizes) != len(steps) or sizes != sorted(set(sizes)) or any(min(step) < 0 for step in steps):
        raise RecipeError(
            "decide.rehydrate must hold [cluster size, factor] with rising sizes, as in [[1, 1], [2, 2]]"
        )
    factor = max((step[1] for step in steps), default=1)
    if factor * max(most, 1) > MAX_COPIES:
        raise RecipeError(f"decide.rehydrate: {factor} x {most:g} repeats are more than {MAX_COPIES} copies")


def _check_fields(source: Source, key: str) -> None:
    fields = source.fields
    if isinstance(fields.text, tuple) and (not all(fields.text) or len(set(fields.text)) < len(fields.text)):
        raise RecipeError(f"{key}.text must name fields, each once: {', '.join(map(repr, fields.text))}")
    if fields.text == () or (fields.text == "" and not fields.messages):
        raise RecipeError(f"{key}.text names no field, and {key}.messages names none either")
    if fields.messages and fields.text not in ("", "text"):
        raise RecipeError(f"{key}.messages makes the text: {key}.text would not be read, remove one of them")
    if fields.roles and not fields.messages:
        raise RecipeError(f"{key}.roles says what stands before messages, but {key}.messages names no field")
    instructions = fields.messages or not isinstance(fields.text, str)
    if instructions and source.format not in ("jsonl", "parquet"):
        raise RecipeError(f"{key}: a {source.format} record has no fields, only jsonl and parquet do")


def _check_mixture(recipe: Recipe) -> None:
    mixture, method = recipe.mixture, recipe.mixture.method
    _one_of(method, METHODS, "mixture.method")
    _one_of(mixture.by, GROUPINGS, "mixture.by")
    _within(mixture.temperature, 0.1, 1_000_000, "mixture.temperature")
    _within(mixture.tokens, 0, 1 << 60, "mixture.tokens")
    _within(mixture.max_epochs, 0.000001, 1000, "mixture.max_epochs")
    computed, unused = method != "repeats", Mixture()
    for name in ("by", "temperature") if computed else ("by", "temperature", "tokens", "max_epochs"):
        if method != "temperature" and getattr(mixture, name) != getattr(unused, name):
            raise RecipeError(
                f"mixture.{name} says nothing to mixture.method = {method!r}: remove one of them"
            )
    for source in recipe.sources:
        key = f"sources.{source.name}"
        if computed and source.repeats != 1:
            raise RecipeError(
                f"{key}.repeats = {source.repeats:g}, but mixture.method = {method!r} computes the repeats: "
                "remove it, or use mixture.method = 'repeats'"
            )
        if method != "weights" and source.weight is not None:
            raise RecipeError(f"{key}.weight is read only by mixture.method = 'weights', not by {method!r}")
        if method == "weights" and source.weight is None:
            raise RecipeError(
                f"{key}.weight is missing: mixture.method = 'weights' needs one for every source"
            )
        if source.weight is not None:
            _within(source.weight, 0, 1_000_000_000_000, f"{key}.weight")
    if method == "weights" and not any(source.weight for source in recipe.sources):
        raise RecipeError("sources: every weight is 0, so nothing could be trained on")


def most_repeats(recipe: Recipe) -> float:
    """The most that any source can be repeated, before factors of cluster sizes."""
    if recipe.mixture.method == "repeats":
        return max(source.repeats for source in recipe.sources)
    return recipe.mixture.max_epochs


def _check_decontaminate(decontaminate: Decontaminate, kinds: Sequence[str]) -> None:
    """`kinds`: those of the recipe's sources."""
    key = "decontaminate"
    _within(decontaminate.ngram, 5, 50, f"{key}.ngram")
    if decontaminate.whole_from:
        _within(decontaminate.whole_from, 5, decontaminate.ngram, f"{key}.whole_from")
    _one_of(decontaminate.action, ACTIONS, f"{key}.action")
    _within(decontaminate.max_hits, 0, 1 << 31, f"{key}.max_hits")
    for kind in decontaminate.kinds:
        _one_of(kind, (*KINDS, ALL_KINDS), f"{key}.kinds")
    names: set[str] = set()
    for of_set in decontaminate.sets:
        if not re.fullmatch(r"[a-z0-9_-]+", of_set.name):
            raise RecipeError(f"{key}.sets: name {of_set.name!r} must be of a-z, 0-9, _ and -")
        if of_set.name in names:
            raise RecipeError(f"{key}.sets: two are named {of_set.name!r}")
        names.add(of_set.name)
        _one_of(of_set.format, EVALUATION_FORMATS, f"{key}.sets.{of_set.name}.format")
        for name in ("paths", "fields"):
            if not getattr(of_set, name):
                raise RecipeError(f"{key}.sets.{of_set.name}.{name} is empty")
    if decontaminate.sets and not any(decontaminate.checks(kind) for kind in kinds):
        wanted, there = ", ".join(decontaminate.kinds) or "(none)", ", ".join(sorted(set(kinds)))
        raise RecipeError(
            f"{key}.kinds: no source is of kind {wanted}, so nothing would be checked; the sources are of "
            f"kind {there}, and {ALL_KINDS!r} stands for every kind"
        )


def _check_licence(source: Source, passing: tuple[str, ...]) -> None:
    """A source of which no record could pass would be read for nothing."""
    if source.fields.licence and source.format not in ("jsonl", "parquet"):
        raise RecipeError(f"sources.{source.name}.fields.licence: records of {source.format} have no fields")
    if source.fields.licence or not passing:
        return
    if not any(fnmatchcase(source.licence, pattern) for pattern in passing):
        raise RecipeError(
            f"decide.licences: nothing of sources.{source.name} could pass. Its licence is {source.licence!r}"
            f"{nearest(source.licence, passing)}, and no fields.licence gives its records others: take the "
            "source out, or let its licence pass"
        )


def _check_thresholds(thresholds: Thresholds, key: str) -> None:
    for member in dataclasses.fields(thresholds):
        value = getattr(thresholds, member.name)
        if value is None or isinstance(value, tuple):
            continue
        share = member.name.endswith(("_share", "_score"))
        least = 1 if member.name.endswith("_perplexity") else 0
        _within(value, least, 1 if share else 1 << 31, f"{key}.{member.name}")
    for what in ("words", "perplexity", "mean_word_length", "kana_share"):
        least, most = f"min_{what}", f"max_{what}"
        low, high = getattr(thresholds, least), getattr(thresholds, most)
        if low is not None and high is not None and low > high:
            raise RecipeError(f"{key}.{least} = {low} is above {key}.{most} = {high}: nothing could pass")


def _check_scored(annotate: Annotate, thresholds: Thresholds, language: str, key: str) -> None:
    """A rule on a score needs a model for its language."""
    for models, rules in (
        ("quality_models", ("min_quality_score", "quality_score_pareto")),
        ("toxicity_models", ("max_toxic_score",)),
    ):
        known = getattr(annotate, models)
        for rule in rules:
            judged = "default" in known or language in known or (language == "default" and known)
            if getattr(thresholds, rule) is not None and not judged:
                raise RecipeError(
                    f"{key}.{rule} compares nothing: annotate.{models} has no model for {language!r}, "
                    f"only for {', '.join(known) or 'no language'}{nearest(language, known)}"
                )
    if thresholds.quality_score_pareto is not None:
        _within(thresholds.quality_score_pareto, 1, 100, f"{key}.quality_score_pareto")


def _one_of(value: str, allowed: Sequence[str], key: str) -> None:
    if value not in allowed:
        raise RecipeError(f"{key}: {value!r} is not one of {', '.join(allowed)}{nearest(value, allowed)}")


def _within(value: float, least: float, most: float, key: str) -> None:
    if not least <= value <= most:  # also refuses NaN
        raise RecipeError(f"{key} = {value} must lie between {least} and {most}")
