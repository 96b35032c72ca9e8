"""tokenizer.json against the library that it is for."""

import json
import random
import sys
import unicodedata
from pathlib import Path

import pytest
from tokenizers import Tokenizer as HuggingFace

from tests.tokenizer_build.conftest import load_once, needs
from tests.tokenizer_build.test_scan import NASTY
from tests.tokenizer_build.test_tokenizer import LONG, odd_vocabulary
from tokenizer_build import export
from tokenizer_build.tokenizer import Tokenizer

# All of these are older than either version of Unicode.
OLD = [character for character in NASTY if "<|" not in character]


def texts(seed: int) -> list[str]:
    rng = random.Random(seed)
    made = ["".join(rng.choices(OLD, k=rng.randint(1, 40))) for _ in range(1_500)]
    return [unicodedata.normalize("NFC", text) for text in [*made, *(long[:2_000] for long in LONG.values())]]


ALSO = [pytest.param(name, marks=pytest.mark.slow) for name in ("qwen", "cl100k_base")]


@pytest.mark.parametrize("name", ["sluice-32k", "sluice-152k", "numbers", *ALSO])
def test_ids_are_ours(name: str, cl100k_like: Path) -> None:
    needs(name)
    place = str(cl100k_like) if name == "numbers" else name
    ours, theirs = load_once(place), HuggingFace.from_str(json.dumps(export.to_tokenizer_json(place)))
    assert theirs.get_vocab_size() == sum(ours._spelling.known)
    for text in texts(seed=2):
        assert theirs.encode(text).ids == ours.encode(text), repr(text)


def test_special_tokens_and_normalisation_are_in_the_file(tmp_path: Path, sluice: Tokenizer) -> None:
    path = tmp_path / "tokenizer.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["export", "sluice-32k", str(path)])
        export.main()
    theirs = HuggingFace.from_file(str(path))
    text = "e\u0301<|endoftext|> and 中文<|extra_204|>"
    normal = unicodedata.normalize("NFC", text)
    assert theirs.encode(text).ids == sluice.encode(normal, allowed_special="all")
    assert theirs.decode(theirs.encode(text).ids, skip_special_tokens=False) == normal
    theirs.encode_special_tokens = True
    assert theirs.encode(text).ids == sluice.encode(normal)


def test_what_merges_cannot_give_is_not_exported(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="merging by lower ranks"):
        export.to_tokenizer_json(str(odd_vocabulary(tmp_path)))
