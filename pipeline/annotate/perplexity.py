"""How likely a text is to a language model: the cost of its words, which the perplexity is made of.

A recipe names a model for each language that is scored: "sluice-en" or "sluice-zh", which come with the
package and are good enough for the quickstart; a file that `sluice train-lm` made; or a binary of KenLM,
which needs the package `kenlm` (extra [lm]) and is read by it. A document is scored by the model of its
language, in the units of kernels/lm_text.py, each line a sentence.

CCNet's own models want SentencePiece units: name their file under `annotate.pieces`, and a document is
normalised, cut into pieces and scored as cc_net does it, as one sentence whose newlines are gone; only then
do CCNet's cut-offs (English 340 and 520, Chinese 1460 and 1950) mean what they say.

Cost: 0.2 ms for 5 kB with a table of ours, which is mapped, so that all workers of a machine share it (the
packaged ones take 3.3 MB each). KenLM called the ordinary way, with cc_net's normalisation in Python, takes 2
to 3 ms for that.
"""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from pipeline.annotate.arpa import open_model, read_header
from pipeline.config import Recipe
from pipeline.kernels.buffers import TextBuffers
from pipeline.kernels.lm import open_table, score_lines
from pipeline.kernels.lm_text import PUNCTUATION, tokenize_text
from pipeline.parts import check_sha256
from pipeline.schema import LM_STEPS

PACKAGED = {"sluice-en": "sluice-en.lm", "sluice-zh": "sluice-zh.lm"}
FOLDER = Path(__file__).parents[1] / "models"
_KENLM_MAGIC = b"mmap lm http://kheafield.com/code"
_ARPA_MAGIC = b"\\data\\"
_NO_KENLM = (
    "is read by the package kenlm (sentencepiece for annotate.pieces): pip install 'sluice-corpus[lm]', "
    "which needs cmake and a C++ compiler"
)


class Scores(NamedTuple):
    """By document: -log10 of its probability in 1/4,000 (uint64), and the units that were predicted, ends of
    lines among them (uint32); 0 and 0 without a model, or without a word.
    """

    cost: pa.Array
    tokens: pa.Array


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model of the recipe: its file and the sha256 that the plan found; `pieces` is "" without any."""

    path: Path
    sha256: str
    pieces: str = ""
    pieces_sha256: str = ""


def find_model(name: str) -> Path:
    """The file of a packaged name or a path; FileNotFoundError where there is none."""
    path = FOLDER / PACKAGED[name] if name in PACKAGED else Path(name)
    if not path.is_file():
        raise FileNotFoundError(f"no language model at {path}; packaged are {', '.join(PACKAGED)}")
    return path.absolute()


def check_model(path: Path, *, pieces: str = "") -> None:
    """ValueError, which says what to do, for a file that cannot be scored with; damage is found here."""
    with path.open("rb") as file:
        first = file.read(len(_KENLM_MAGIC))
    if first.startswith(_ARPA_MAGIC):
        raise ValueError(f"{path} is an ARPA file: make a model of it with `sluice train-lm --arpa`")
    if first != _KENLM_MAGIC:
        if pieces:
            raise ValueError(f"{path} is a model of words: annotate.pieces is for KenLM's binaries")
        read_header(path)
        return
    try:
        _load_kenlm(str(path))
        if pieces:
            _load_pieces(pieces)
    except ImportError as error:
        raise ValueError(f"{path} {_NO_KENLM}") from error
    except (OSError, RuntimeError) as error:
        raise ValueError(f"{path} or {pieces or 'nothing else'} cannot be read: {error}") from error


def models_of(recipe: Recipe, hashes: Mapping[str, str]) -> dict[str, ModelFile]:
    """The models of a recipe by language."""
    names, pieces = recipe.annotate.perplexity, recipe.annotate.pieces
    found = {}
    for language in sorted(names):
        of_pieces = pieces.get(language, "")
        path, sha256 = find_model(names[language]), hashes[names[language]]
        found[language] = ModelFile(path, sha256, of_pieces, hashes.get(of_pieces, ""))
    return found


def perplexity_made_of(recipe: Recipe, hashes: Mapping[str, str]) -> list[list[str]]:
    """What costs depend on: models by language, and the libraries that read those that are not ours."""
    names, pieces = recipe.annotate.perplexity, recipe.annotate.pieces
    made_of = []
    for language in sorted(names):
        libraries = [_version("kenlm")] if is_kenlm(str(find_model(names[language]))) else []
        libraries += [hashes[pieces[language]], _version("sentencepiece")] if language in pieces else []
        made_of.append([language, hashes[names[language]], *libraries])
    return made_of


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return ""


@lru_cache(maxsize=64)
def is_kenlm(path: str) -> bool:
    """Whether a file is a binary of KenLM."""
    with Path(path).open("rb") as file:
        return file.read(len(_KENLM_MAGIC)) == _KENLM_MAGIC


def perplexity(cost: int, tokens: int) -> float | None:
    """The perplexity that people read; rules compare `cost` and `tokens`. None without tokens."""
    return float(10 ** (cost / tokens / LM_STEPS)) if tokens else None


def score_documents(text: pa.Array, language: pa.Array, models: Mapping[str, ModelFile]) -> Scores:
    """Costs and tokens of a batch of documents, each by the model of its language."""
    found = np.zeros((len(text), 2), np.int64)
    languages = np.asarray(language.to_pylist(), object)
    for code in sorted({*languages.tolist()} & models.keys()):
        rows = np.flatnonzero(languages == code)
        found[rows] = _score(text.take(pa.array(rows)), models[code])
    return Scores(pa.array(found[:, 0].astype(np.uint64)), pa.array(found[:, 1].astype(np.uint32)))


def _score(text: pa.Array, file: ModelFile) -> np.ndarray:
    """int64 [len(text), 2]: costs and tokens by one model."""
    if not is_kenlm(str(file.path)):
        model = open_model(file.path, file.sha256)
        return score_lines(tokenize_text(text), np.arange(len(text)), model)
    model = _open_kenlm(str(file.path), file.sha256)
    if file.pieces:
        pieces = _open_pieces(file.pieces, file.pieces_sha256)
        lines = [[" ".join(pieces.encode_as_pieces(plain_text(one or "")))] for one in text.to_pylist()]
    else:
        lines = list(_lines(tokenize_text(text)))
    found = np.zeros((len(lines), 2), np.int64)
    for row, of_document in enumerate(lines):
        for line in of_document:
            if line:
                # float32 to float64 is exact; rounded by line, so that sums are of integers.
                found[row] += round(-model.score(line) * LM_STEPS), len(line.split()) + 1
    return found


def _lines(tokens: TextBuffers) -> list[list[str]]:
    raw, offsets = tokens.bytes.tobytes(), tokens.offsets
    return [raw[a:b].decode().split("\n") for a, b in pairwise(offsets.tolist())]


def plain_text(text: str) -> str:
    """CCNet's normalisation of a whole document (text_normalizer.normalize): newlines and tabs go with the
    other controls.
    """
    decomposed = unicodedata.normalize("NFD", text.strip().lower())
    kept = (c for c in decomposed if unicodedata.category(c) != "Mn")
    digits = "".join("0" if unicodedata.category(c) == "Nd" else PUNCTUATION.get(c, c) for c in kept)
    return "".join(c for c in digits if unicodedata.category(c) != "Cc")


def warm_scoring() -> None:
    """Loads or compiles the kernels."""
    nothing = open_table(np.zeros(8, np.uint64), order=1, salt=0)
    score_lines(tokenize_text(pa.array(["a"])), np.arange(1), nothing)


# --- other people's models ----------------------------------------------------------------------------------


@lru_cache(maxsize=8)
def _open_kenlm(path: str, sha256: str) -> Any:
    check_sha256(Path(path), sha256, "language model")
    return _load_kenlm(path)


def _load_kenlm(path: str) -> Any:
    import kenlm  # type: ignore[reportMissingImports]

    config = kenlm.Config()
    config.load_method = kenlm.LoadMethod.LAZY  # mapped: workers share its pages
    config.show_progress = False
    return kenlm.Model(path, config)


@lru_cache(maxsize=8)
def _open_pieces(path: str, sha256: str) -> Any:
    check_sha256(Path(path), sha256, "model of pieces")
    return _load_pieces(path)


def _load_pieces(path: str) -> Any:
    import sentencepiece  # type: ignore[reportMissingImports]

    return sentencepiece.SentencePieceProcessor(model_file=path)
