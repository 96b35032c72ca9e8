"""Scores of texts by language: classifiers of quality and toxicity, and word lists.

What comes packaged was trained for this project; the card beside each model (models/*.json) says on what, and
how well it does on texts that it has not seen. Any fastText classifier can stand in its place. The driver
checks and compiles what the recipe's rules ask for and puts it into the run's folder, by sha256; workers map
it from there.
"""

from collections.abc import Callable, Collection, Mapping
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.annotate.classifier_file import (
    COMPILED_VERSION,
    compiled_name,
    open_classifier,
    save_classifier,
)
from pipeline.annotate.model_file import read_model_labels
from pipeline.annotate.word_lists import (
    count_flagged,
    lists_digest,
    lists_name,
    open_table,
    read_word_lists,
    save_lists,
)
from pipeline.config import Annotate, RecipeError, nearest
from pipeline.counts import FLAGGED_COUNTS, MEASURE_GROUPS
from pipeline.parts import file_sha256
from pipeline.schema import SCORE_STEPS
from pipeline.score_model import ScoreModel
from pipeline.storage import Storage

LISTS_HASH = "annotate.word_lists"  # of the lists among a job's hashes
_MODELS = {"quality": "quality_models", "toxicity": "toxicity_models"}  # group -> key of the recipe


def packaged_models() -> dict[str, Path]:
    """Name to file of the classifiers that come with the package."""
    folder = Path(str(resources.files("pipeline.annotate"))) / "models"
    return {path.stem: path for path in sorted(folder.glob("*.bin"))}


def find_classifier(name: str) -> Path:
    """The file of a packaged name or a path. Raises FileNotFoundError."""
    packaged = packaged_models()
    path = packaged.get(name, Path(name))
    if not path.is_file():
        raise FileNotFoundError(
            f"no classifier {name!r}: neither a file nor one of {', '.join(packaged)}"
            f"{nearest(name, packaged)}"
        )
    return path.absolute()


def score_hashes(annotate: Annotate, groups: Collection[str]) -> dict[str, str]:
    """sha256 of what these groups of counts need, by the names in the recipe; RecipeError for what cannot be
    used.
    """
    hashes = {}
    for group, key in _MODELS.items():
        for language, wanted in getattr(annotate, key).items() if group in groups else ():
            try:
                path = find_classifier(wanted.model)
                labels = read_model_labels(path)
                hashes[wanted.model] = file_sha256(path)
            except (OSError, ValueError) as error:
                raise RecipeError(f"annotate.{key}.{language}.model: {error}") from error
            for label in wanted.labels:
                if label not in labels:
                    raise RecipeError(
                        f"annotate.{key}.{language}.labels: {wanted.model} has no label {label!r}, only "
                        f"{', '.join(labels)}{nearest(label, labels)}"
                    )
    if "flagged" in groups:
        try:
            hashes[LISTS_HASH] = lists_digest(read_word_lists(annotate.word_lists))
        except (OSError, ValueError) as error:
            raise RecipeError(f"annotate.word_lists.{error}") from error
    return hashes


def save_score_models(storage: Storage, annotate: Annotate, hashes: Mapping[str, str]) -> None:
    """Puts compiled models and lists into a run's folder; RecipeError, which names the sha256, for a file
    that is damaged or not the one that was hashed.
    """
    for key in _MODELS.values():
        for wanted in getattr(annotate, key).values():
            if wanted.model in hashes:
                path = find_classifier(wanted.model)
                if (found := file_sha256(path)) != hashes[wanted.model]:
                    raise RecipeError(
                        f"{path} has sha256 {found}, not {hashes[wanted.model]}: it was changed"
                    )
                try:
                    save_classifier(storage, path, found)
                except ValueError as error:
                    raise RecipeError(f"annotate.{key}: {error} (sha256 {found})") from error
    if LISTS_HASH in hashes:
        save_lists(storage, read_word_lists(annotate.word_lists), hashes[LISTS_HASH])


def score_files(hashes: Mapping[str, str]) -> set[str]:
    """Where in a run's folder the models and lists of a job's hashes would lie, if it has any."""
    files = {compiled_name(digest) for name, digest in hashes.items() if name != LISTS_HASH}
    return files | {lists_name(hashes[LISTS_HASH])} if LISTS_HASH in hashes else files


def scores_made_of(annotate: Annotate, groups: Collection[str], hashes: Mapping[str, str]) -> list[Any]:
    """What the scores of these groups depend on, for fingerprints: contents, not names."""
    made_of: list[Any] = []
    for group, key in _MODELS.items():
        if group in groups:
            models = sorted(getattr(annotate, key).items())
            made_of.append(
                [COMPILED_VERSION, group, [(code, hashes[m.model], sorted(m.labels)) for code, m in models]]
            )
    if "flagged" in groups:
        made_of.append(["flagged", hashes[LISTS_HASH]])
    return made_of


def load_scorers(
    output: str, annotate: Annotate, groups: Collection[str], hashes: Mapping[str, str]
) -> dict[str, Callable[[pa.RecordBatch], pa.RecordBatch]]:
    """For each of these groups that needs models, the function from a batch with text and language to its
    counts. Files are opened when the first text of a language comes.
    """
    scorers: dict[str, Callable[[pa.RecordBatch], pa.RecordBatch]] = {}
    for group, key in _MODELS.items():
        if group in groups:
            models = {code: (m, hashes[m.model]) for code, m in getattr(annotate, key).items()}
            scorers[group] = partial(_classify, output, models, tuple(MEASURE_GROUPS[group]))
    if "flagged" in groups:
        scorers["flagged"] = partial(_flag, output, hashes[LISTS_HASH])
    return scorers


def _classify(
    output: str, models: Mapping[str, tuple[ScoreModel, str]], names: tuple[str, ...], batch: pa.RecordBatch
) -> pa.RecordBatch:
    """(score, steps) uint32 of each text."""
    scores = np.zeros((2, batch.num_rows), np.uint32)
    for language, rows in _by_language(batch):
        wanted = models.get(language, models.get("default"))
        if wanted:
            classifier = open_classifier(output, wanted[1])
            found = classifier.probabilities(batch["text"].take(pa.array(rows)))
            places = [classifier.labels.index(label) for label in wanted[0].labels]
            score = np.minimum(found[:, places].sum(axis=1), 1)
            scores[0, rows] = np.rint(score * SCORE_STEPS)  # to even, as language scores
            scores[1, rows] = SCORE_STEPS
    return pa.RecordBatch.from_arrays([pa.array(column) for column in scores], names=list(names))


def _flag(output: str, digest: str, batch: pa.RecordBatch) -> pa.RecordBatch:
    """FLAGGED_COUNTS of each text by the lists of its language."""
    counts = np.zeros((len(FLAGGED_COUNTS), batch.num_rows), np.uint32)
    for language, rows in _by_language(batch):
        table = open_table(output, digest, language)
        counts[:, rows] = count_flagged(batch["text"].take(pa.array(rows)), table).T
    return pa.RecordBatch.from_arrays([pa.array(column) for column in counts], names=list(FLAGGED_COUNTS))


def _by_language(batch: pa.RecordBatch) -> list[tuple[str, np.ndarray]]:
    languages = np.asarray(batch["language"].to_pylist(), dtype=object)
    return [(code, np.flatnonzero(languages == code)) for code in sorted(set(languages))]
