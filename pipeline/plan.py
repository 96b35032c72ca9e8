"""The plan: every split of every source, its part number, and what the run will need; a function of inputs
and recipe.

Made once, before any work, and written to `plan.json`. All that can be known to go wrong is found here: a
path that matches nothing, a file that two sources claim, a model or vocabulary file that is not there.
"""

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from pipeline.annotate.charset_model import CHARSET_MODEL
from pipeline.annotate.extract.engines import MAIN_TEXT, MAIN_TEXT_MODEL
from pipeline.annotate.language import find_language_model
from pipeline.annotate.model_file import read_model_labels
from pipeline.annotate.splits import (
    InputFile,
    known_identities,
    list_input_files,
    plan_splits,
    split_to_bytes,
)
from pipeline.config import KINDS, Recipe, RecipeError, nearest
from pipeline.parts import file_sha256
from pipeline.phase import Job
from pipeline.recipe_file import recipe_to_tree
from pipeline.rules import SCORED_GROUPS, measured_groups
from pipeline.storage import Storage
from tokenizer_build.vocabulary import find_vocabulary

if TYPE_CHECKING:
    from pipeline.annotate.decontaminate import EvaluationIndex

TAKEDOWNS = "takedown.json"  # in the run's folder: what was taken down (decide/takedowns.py)
PACKAGE_PREFIX = "package://"  # paths inside pipeline/quickstart
_PARTS_PER_PARTITION = 16  # a part scatters about 4 MB into a shuffle family: partitions stay near 64 MB
_LEAST_PARTITIONS = 8

# Rough factors from a run on 61 MB of real pages, for the estimate only: bytes written per byte read, and
# bytes read per second and worker.
_WRITTEN_PER_BYTE = {"warc": 1.0, "html": 0.4, "jsonl": 3.0, "parquet": 4.0, "text": 3.0}
_BYTES_PER_SECOND = {
    "warc": 1_500_000,
    "html": 6_000_000,
    "jsonl": 3_000_000,
    "parquet": 3_000_000,
    "text": 4_000_000,
}


@dataclass(frozen=True, slots=True)
class Plan:
    """Splits in part order, each as packed bytes, and the inputs that they cut up."""

    recipe: Recipe
    hashes: Mapping[str, str]  # sha256 of model and vocabulary files, by their name in the recipe
    inputs: tuple[tuple[str, InputFile], ...]  # (source, file)
    splits: tuple[bytes, ...]
    evaluation: tuple[tuple[str, InputFile], ...] = ()  # (evaluation set, file)
    index: "EvaluationIndex | None" = None  # of their n-grams

    def job(self, output: str, *, accept_missing: bool) -> Job:
        """What the workers get."""
        partitions = max(_LEAST_PARTITIONS, -(-len(self.splits) // _PARTS_PER_PARTITION))
        return Job(output, self.recipe, self.hashes, len(self.splits), partitions, accept_missing)


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run will roughly take; told before it starts."""

    files: int
    input_bytes: int
    splits: int
    output_bytes: int
    cpu_seconds: float
    free_bytes: int | None  # None on an object store


def make_plan(recipe: Recipe, storage: Storage) -> Plan:
    """Lists and cuts up all inputs; raises RecipeError for whatever would fail later."""
    hashes = {**find_hashes(recipe), **find_score_hashes(recipe), **hash_of_takedowns(storage)}
    check_languages(recipe)
    known = _read_known(storage)
    inputs: list[tuple[str, InputFile]] = []
    splits: list[bytes] = []
    owner: dict[str, str] = {}
    for source in recipe.sources:
        paths = [package_path(path) for path in source.paths]
        try:
            files = list_input_files(paths, known=known)
        except ValueError as error:
            raise RecipeError(f"sources.{source.name}.paths: {error}") from error
        for file in files:
            name = f"{file.root}/{file.path}"
            if owner.setdefault(name, source.name) != source.name:
                raise RecipeError(f"{name} is matched by two sources: {owner[name]} and {source.name}")
            inputs.append((source.name, file))
        cut = plan_splits(files, format=source.format, split_bytes=recipe.annotate.split_bytes)
        splits += [split_to_bytes(source.name, spans) for spans in cut]
    files = _find_evaluation(recipe, known)
    index = None
    if files:  # kernels take a second to load
        from pipeline.annotate.decontaminate import HASH_NAME, index_digest, index_sets

        index = index_sets(recipe.decontaminate, files)
        hashes[HASH_NAME] = index_digest(index)
    evaluation = tuple((name, file) for name, of_set in files.items() for file in of_set)
    return Plan(recipe, hashes, tuple(inputs), tuple(splits), evaluation, index)


def _find_evaluation(recipe: Recipe, known: Mapping[tuple[str, int, int], str]) -> dict[str, list[InputFile]]:
    """The files of every evaluation set; RecipeError for a path that matches nothing."""
    found = {}
    for of_set in recipe.decontaminate.sets:
        paths = [package_path(path) for path in of_set.paths]
        try:
            found[of_set.name] = list_input_files(paths, known=known)
        except ValueError as error:
            raise RecipeError(f"decontaminate.sets.{of_set.name}.paths: {error}") from error
    return found


def find_score_hashes(recipe: Recipe) -> dict[str, str]:
    """sha256 of the classifiers and word lists that any source's rules ask for; RecipeError if one is not
    there, or is none.
    """
    groups = _scored_groups(recipe)
    if not groups:
        return {}
    from pipeline.annotate.score_models import score_hashes  # loads Numba

    return score_hashes(recipe.annotate, groups)


def _scored_groups(recipe: Recipe) -> set[str]:
    asked = set(recipe.annotate.measures)
    for source in recipe.sources:
        asked.update(measured_groups(recipe.decide.thresholds, source.kind))
    return asked & SCORED_GROUPS


def hash_of_takedowns(storage: Storage) -> dict[str, str]:
    """sha256 of the requests in a run's folder, by their name; nothing if there are none."""
    requests = storage.read_bytes(TAKEDOWNS)
    return {TAKEDOWNS: hashlib.sha256(requests).hexdigest()} if requests else {}


def _read_known(storage: Storage) -> dict[tuple[str, int, int], str]:
    """Identities of files that the last plan hashed, so that a rerun does not read every input twice."""
    plan = storage.read_json("plan.json")
    inputs = [*plan["inputs"], *plan.get("evaluation", ())] if plan else []
    return known_identities(
        [InputFile(**{k: v for k, v in entry.items() if k not in ("source", "set")}) for entry in inputs]
    )


def package_path(path: str) -> str:
    """Paths of the packaged quickstart corpus become paths on this machine; others stay."""
    if not path.startswith(PACKAGE_PREFIX):
        return path
    return str(Path(__file__).parent / "quickstart" / path.removeprefix(PACKAGE_PREFIX))


def find_hashes(recipe: Recipe) -> dict[str, str]:
    """sha256 of every model, vocabulary and list that the recipe names; raises RecipeError if one is not
    there.
    """
    hashes, annotate = {}, recipe.annotate
    finders = {
        "annotate.language_model": (annotate.language_model, find_language_model),
        "pack.vocabulary": (recipe.pack.vocabulary, find_vocabulary),
    }
    for key, (name, find) in finders.items():
        try:
            hashes[name] = file_sha256(find(name))
        except (OSError, ValueError) as error:
            raise RecipeError(f"{key}: {error}") from error
    if annotate.perplexity:
        hashes |= _find_models(recipe)
    hashes[CHARSET_MODEL.stem] = file_sha256(CHARSET_MODEL)
    if recipe.annotate.engine == MAIN_TEXT:
        hashes[MAIN_TEXT] = file_sha256(MAIN_TEXT_MODEL)
    from pipeline.annotate.urls import SUFFIXES, suffix_list  # load Numba: not before a recipe is good
    from pipeline.decide.lists import list_sha256

    hashes[SUFFIXES] = file_sha256(suffix_list())

    for key in ("block_lists", "allow_lists"):
        for path in getattr(recipe.decide, key):
            try:
                hashes[path] = list_sha256(path)
            except (OSError, ValueError) as error:
                raise RecipeError(f"decide.{key}: {error}") from error
    return hashes | _hash_of_segmenter(recipe)


def _hash_of_segmenter(recipe: Recipe) -> dict[str, str]:
    from pipeline.annotate.segment import PACKAGE, SEGMENTED, segmenter_version

    thresholds = recipe.decide.thresholds
    asked = {*recipe.annotate.measures}.union(*(measured_groups(thresholds, kind) for kind in KINDS))
    if SEGMENTED not in asked:
        return {}
    if not (found := segmenter_version()):
        raise RecipeError(
            f"rules on words of {SEGMENTED} need the package {PACKAGE}: pip install 'sluice-corpus[zh]'"
        )
    return {SEGMENTED: f"{PACKAGE} {found}"}


def _find_models(recipe: Recipe) -> dict[str, str]:
    """sha256 of the models of annotate.perplexity and of their pieces, which are known to be whole then."""
    from pipeline.annotate.perplexity import check_model, find_model

    hashes = {}
    for language, name in recipe.annotate.perplexity.items():
        pieces = recipe.annotate.pieces.get(language, "")
        try:
            path = find_model(name)
            check_model(path, pieces=pieces)
            hashes[name] = file_sha256(path)
            if pieces:
                hashes[pieces] = file_sha256(Path(pieces))
        except (OSError, ValueError) as error:
            raise RecipeError(f"annotate.perplexity.{language}: {error}") from error
    return hashes


def check_languages(recipe: Recipe) -> None:
    """Raises RecipeError for a language model that cannot be used, and for codes that are none of its labels:
    a rule for such a language would never be asked.
    """
    name = recipe.annotate.language_model
    try:
        labels = read_model_labels(find_language_model(name))
    except (OSError, ValueError) as error:
        raise RecipeError(f"annotate.language_model: {error}") from error
    named = [("annotate.gate.languages", recipe.annotate.gate.languages)]
    named += [("annotate.perplexity", tuple(recipe.annotate.perplexity))]
    for kind, by_language in recipe.decide.thresholds.items():
        key = f"decide.thresholds.{kind}"
        named.append((key, tuple(language for language in by_language if language != "default")))
        named += [(f"{key}.{code}.languages", limits.languages or ()) for code, limits in by_language.items()]
    known = set(labels)
    for key, codes in named:
        for code in codes:
            if code not in known:
                raise RecipeError(f"{key}: {name} has no language {code!r}{nearest(code, labels)}")


def save_plan(plan: Plan, storage: Storage) -> None:
    """Writes plan.json, from which workers take their splits, if it says something new, and the index of
    evaluation sets.
    """
    if plan.index:
        from pipeline.annotate.decontaminate import HASH_NAME, save_index

        save_index(storage, plan.index, plan.hashes[HASH_NAME])
    if _scored_groups(plan.recipe):
        from pipeline.annotate.score_models import save_score_models

        save_score_models(storage, plan.recipe.annotate, plan.hashes)
    tree = {
        "recipe": recipe_to_tree(plan.recipe),
        "hashes": dict(sorted(plan.hashes.items())),
        "inputs": [{"source": source, **asdict(file)} for source, file in plan.inputs],
        "evaluation": [{"set": name, **asdict(file)} for name, file in plan.evaluation],
        "splits": [orjson.Fragment(split) for split in plan.splits],
    }
    text = orjson.dumps(tree, option=orjson.OPT_INDENT_2)
    if storage.read_bytes("plan.json") != text:
        storage.put_bytes("plan.json", text)


def estimate(plan: Plan, storage: Storage) -> Estimate:
    """Rough disk and CPU needs of a whole run."""
    formats = {source.name: source.format for source in plan.recipe.sources}
    written = sum(file.bytes * _WRITTEN_PER_BYTE[formats[source]] for source, file in plan.inputs)
    seconds = sum(file.bytes / _BYTES_PER_SECOND[formats[source]] for source, file in plan.inputs)
    root = storage.local_root
    while root is not None and not root.exists():
        root = root.parent
    free = None if root is None else shutil.disk_usage(root).free
    total = sum(file.bytes for _, file in plan.inputs)
    return Estimate(len(plan.inputs), total, len(plan.splits), int(written), seconds, free)
