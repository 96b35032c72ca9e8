"""Trains the two main-text models: `python -m pipeline.annotate.extract.training.train DATA TEACHERS OUT`

DATA: a folder with the archives that pages.py names. TEACHERS: the file that teach.py made of them. OUT: a
folder for `main_text.npz` (the packaged models), `main_text.json` (their card) and `folds.npz`: for each of
five folds of sites the models that saw none of its pages, by which the benchmark judges pages of DATA.

The second model learns from what the first says of pages that it was not trained on. Takes 5 minutes on one
core; more threads are slower. Needs lightgbm (the extra [training]).
"""

import argparse
import gzip
import hashlib
import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import lightgbm
import numpy as np
from numpy.typing import NDArray

from pipeline.annotate.extract.blocks import Blocks, block_lengths, find_blocks, judge_again, with_context
from pipeline.annotate.extract.training.cuts import choose_cuts
from pipeline.annotate.extract.training.hand_labels import label_by_hand, read_hand_labels
from pipeline.annotate.extract.training.labels import label_blocks, strip_markdown
from pipeline.annotate.extract.training.pages import LabelledPage, read_pages
from pipeline.kernels.html_context import CONTEXT
from pipeline.kernels.html_features import FEATURES
from pipeline.kernels.trees import LEAF_BITS, STEP, Trees, score_rows, trees_from

FOLDS = 5
SOURCES = (
    "test pages of Mozilla Readability, Goose3, Snacktory, ExtractNet and GNE; Formasaurus pages; "
    "documentation beside its Markdown; blogs and manuals (training/pages.py says which); 160 of these pages "
    "judged block by block by language models (training/hand_labels.py says how)"
)
TREES = {"first": 100, "second": 60}
PARAMETERS: dict[str, Any] = {
    "objective": "cross_entropy",
    "num_leaves": 24,
    "max_depth": 7,
    "learning_rate": 0.08,
    "min_data_in_leaf": 60,
    "feature_fraction": 0.35,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "lambda_l2": 5,
    "max_bin": 63,
    "num_threads": 1,
    "deterministic": True,
    "seed": 1,
    "verbose": -1,
}
# How much a page counts: templates that repeat less, pages without an article less.
PAGE_WEIGHTS = {
    "readability": 1.5, "articles": 1.0, "chinese": 1.0, "markdown": 0.25, "sites": 0.4, "pool": 0.35,
    "manual": 0.2, "hand": 3.0,
}  # fmt: skip
# How much each teacher counts in a label. "readability" and "markdown" are the truth of pages that have one.
TEACHER_WEIGHTS = {
    "trafilatura": 1.0, "trafilatura-fast": 0.2, "trafilatura-precision": 0.2, "trafilatura-recall": 0.2,
    "readability": 2.0, "markdown": 2.5,
}  # fmt: skip


class Example(NamedTuple):
    """One labelled page; pages judged by reading are a kind of their own ("hand")."""

    kind: str
    site: str
    name: str
    digest: str  # of its HTML
    blocks: Blocks
    labels: NDArray[np.float32]
    lengths: NDArray[np.int64]  # characters of each block


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, print what the folds say, write the models and their card."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("teachers", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args(arguments)
    examples = read_examples(options.data, options.teachers)
    print(f"{len(examples)} pages, {sum(len(example.labels) for example in examples)} blocks", flush=True)
    folds, models = cross_validate(examples)
    final = fit_both(examples, models["chances"])
    write_models(options.out, examples, folds, models, final)


def fold_of(site: str) -> int:
    """The fold that a site belongs to, by its name only."""
    return int.from_bytes(hashlib.blake2b(site.encode(), digest_size=4).digest(), "little") % FOLDS


def page_digest(html: str) -> str:
    """By which the benchmark knows a page that the packaged models learned from."""
    return hashlib.blake2b(html.encode("utf-8", "replace"), digest_size=8).hexdigest()


def read_examples(data: Path, teachers: Path) -> list[Example]:
    """Pages with labels; those of which no teacher made anything are left out."""
    with gzip.open(teachers, "rt", encoding="utf-8") as file:
        taught = {entry["name"]: entry["texts"] for entry in map(json.loads, file)}
    by_hand = read_hand_labels()
    examples = []
    for page in read_pages(data):
        blocks = find_blocks(page.html.encode("utf-8", "replace"))
        texts = blocks.page.block_texts()
        labels = _vote(page, texts, taught.get(page.name, {}))
        if labels is not None and len(texts) > 1:
            kind, digest, lengths = page.kind, page_digest(page.html), block_lengths(blocks)
            if page.name in by_hand:
                judged = label_by_hand(texts, by_hand[page.name])
                kind, labels = "hand", np.where(np.isnan(judged), labels, judged)
            examples.append(Example(kind, page.site, page.name, digest, blocks, labels, lengths))
    return examples


def _vote(page: LabelledPage, texts: list[str], taught: dict[str, str]) -> NDArray[np.float32] | None:
    known = dict(taught)
    if page.kind == "readability" and page.truth:
        expected = find_blocks(page.truth.encode("utf-8", "replace")).page
        known["readability"] = "\n".join(expected.block_texts())
    elif page.kind == "markdown" and page.truth:
        known["markdown"] = strip_markdown(page.truth)
    votes = [(TEACHER_WEIGHTS[name], label_blocks(texts, text)) for name, text in known.items() if text]
    if not votes:
        return None
    mean = sum(weight * vote for weight, vote in votes) / sum(weight for weight, _ in votes)
    return np.clip(mean, 0, 1).astype(np.float32)


def cross_validate(examples: list[Example]) -> tuple[NDArray[np.int64], dict[str, Any]]:
    """(fold of each page, {"first", "second": models by fold, "chances": of every page by a model that did
    not see its site}).
    """
    folds = np.array([fold_of(example.site) for example in examples])
    models: dict[str, Any] = {"first": [], "second": []}
    chances: list[Any] = [None] * len(examples)
    final: list[Any] = [None] * len(examples)
    for fold in range(FOLDS):
        inside = [example for example, of in zip(examples, folds, strict=True) if of != fold]
        models["first"].append(fit("first", inside, [example.blocks.features for example in inside]))
        for at in np.flatnonzero(folds == fold):
            blocks = examples[at].blocks
            chances[at] = score_rows(models["first"][fold][1], blocks.features, blocks.open)
    report("first", examples, chances)
    rows = [with_context(example.blocks, chance) for example, chance in zip(examples, chances, strict=True)]
    for fold in range(FOLDS):
        inside = np.flatnonzero(folds != fold)
        models["second"].append(fit("second", [examples[at] for at in inside], [rows[at] for at in inside]))
        for at in np.flatnonzero(folds == fold):
            final[at] = judge_again(examples[at].blocks, chances[at], models["second"][fold][1])
    report("second", examples, final)
    models["chances"] = chances
    models["cuts"] = choose_cuts(
        [
            (example.kind, chance, example.labels, example.lengths)
            for example, chance in zip(examples, final, strict=True)
        ]
    )
    return folds, models


def fit_both(examples: list[Example], chances: list[NDArray[np.uint16]]) -> dict[str, Any]:
    """The packaged models, from all pages."""
    rows = [with_context(example.blocks, chance) for example, chance in zip(examples, chances, strict=True)]
    return {
        "first": fit("first", examples, [example.blocks.features for example in examples]),
        "second": fit("second", examples, rows),
    }


def fit(
    name: str, examples: list[Example], rows: list[NDArray[np.float32]]
) -> tuple[dict[str, NDArray], Trees]:
    """One model from the undecided blocks of pages: (its arrays, ready to use)."""
    weights = []
    for example in examples:
        weight = np.sqrt(np.maximum(example.lengths, 4))
        weight *= PAGE_WEIGHTS[example.kind] / np.sqrt(weight.sum())  # long pages count as their square root
        weights.append(weight[example.blocks.open])
    weight = np.concatenate(weights)
    data = lightgbm.Dataset(
        np.concatenate([row[example.blocks.open] for row, example in zip(rows, examples, strict=True)]),
        np.concatenate([example.labels[example.blocks.open] for example in examples]),
        weight=weight * (len(weight) / weight.sum()),
    )
    arrays = to_arrays(lightgbm.train(PARAMETERS, data, TREES[name]).dump_model())
    return arrays, trees_from(arrays)


def to_arrays(model: dict[str, Any]) -> dict[str, NDArray]:
    """The arrays of trees.Trees out of what lightgbm dumps."""
    nodes: list[tuple[int, float, int, int, int]] = []  # feature, threshold, right, left, leaf
    roots, steps = [], []

    def add(node: dict[str, Any]) -> tuple[int, int]:
        place = len(nodes)
        if "leaf_value" in node:
            nodes.append((0, 0.0, place, place, round(node["leaf_value"] * (1 << LEAF_BITS))))
            return place, 0
        nodes.append((0, 0.0, 0, 0, 0))
        assert node["decision_type"] == "<="
        (left, left_steps), (right, right_steps) = add(node["left_child"]), add(node["right_child"])
        # The largest float32 that is not above it splits float32 features in the same way.
        threshold = np.float32(node["threshold"])
        if float(threshold) > node["threshold"]:
            threshold = np.nextafter(threshold, np.float32(-np.inf))
        nodes[place] = (node["split_feature"], float(threshold), right, left, 0)
        return place, 1 + max(left_steps, right_steps)

    for tree in model["tree_info"]:
        root, deepest = add(tree["tree_structure"])
        roots.append(root)
        steps.append(deepest)
    columns = list(zip(*nodes, strict=True))
    return {
        "features": np.array(columns[0], np.int16),
        "thresholds": np.array(columns[1], np.float32),
        "children": np.array(columns[2:4], np.int32).T.copy(),
        "leaves": np.array(columns[4], np.int32),
        "roots": np.array(roots, np.int32),
        "steps": np.array(steps, np.int32),
    }


def report(name: str, examples: list[Example], chances: list[NDArray[np.uint16]]) -> None:
    """Precision, recall and F1 in characters against the labels, mean over the pages of each kind."""
    for kind in dict.fromkeys(example.kind for example in examples):
        scores = []
        for example, chance in zip(examples, chances, strict=True):
            if example.kind == kind:
                kept = chance.astype(np.int64) * 2 > STEP
                right = float((example.lengths * example.labels * kept).sum())
                precision = right / max(float((example.lengths * kept).sum()), 1.0)
                recall = right / max(float((example.lengths * example.labels).sum()), 1.0)
                scores.append((precision, recall, 2 * precision * recall / max(precision + recall, 1e-9)))
        mean = np.mean(scores, axis=0)
        print(
            f"{name:8} {kind:12} {len(scores):5} pages  P {mean[0]:.3f} R {mean[1]:.3f} F1 {mean[2]:.3f}",
            flush=True,
        )


def write_models(
    out: Path,
    examples: list[Example],
    folds: NDArray[np.int64],
    models: dict[str, Any],
    final: dict[str, Any],
) -> None:
    """The three files; the card says from what and how."""
    packaged: dict[str, Any] = {
        f"{name}_{key}": array for name in TREES for key, array in final[name][0].items()
    }
    packaged["cuts"] = cuts = np.array(models["cuts"], np.int32)
    np.savez_compressed(out / "main_text.npz", **packaged)
    by_fold: dict[str, Any] = {
        f"fold{fold}_{name}_{key}": array
        for fold in range(FOLDS)
        for name in TREES
        for key, array in models[name][fold][0].items()
    } | {f"fold{fold}_cuts": cuts for fold in range(FOLDS)}
    digests = np.array([int(example.digest, 16) for example in examples], np.uint64)
    np.savez_compressed(out / "folds.npz", digests=digests, folds=folds.astype(np.uint8), **by_fold)
    kinds = sorted({example.kind for example in examples})
    card = {
        "sha256": hashlib.sha256((out / "main_text.npz").read_bytes()).hexdigest(),
        "pages": {kind: sum(example.kind == kind for example in examples) for kind in kinds},
        "sites": len({example.site for example in examples}),
        "blocks": sum(len(example.labels) for example in examples),
        "sources": SOURCES,
        "cuts": models["cuts"]._asdict(),
        "teachers": TEACHER_WEIGHTS,
        "page_weights": PAGE_WEIGHTS,
        "parameters": PARAMETERS | {"trees": TREES},
        "lightgbm": version("lightgbm"),
        "trafilatura": version("trafilatura"),
        "features": [*CONTEXT, *FEATURES],
    }
    (out / "main_text.json").write_text(json.dumps(card, indent=1) + "\n")


if __name__ == "__main__":
    main()
