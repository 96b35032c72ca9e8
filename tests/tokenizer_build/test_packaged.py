"""The vocabularies that come with the package are what their cards say."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tokenizer_build.build import start_merges
from tokenizer_build.build_recipe import build_recipe, load_build_recipe
from tokenizer_build.merge_table import split_tokens
from tokenizer_build.reachability import find_unreachable
from tokenizer_build.vocabulary import NAMED, PATTERNS, find_vocabulary, load_ranks

OWN = [name for name, place in NAMED.items() if place.package == "tokenizer_build"]


def card_of(path: Path) -> dict[str, Any]:
    return json.loads(path.with_suffix(".card.json").read_text("utf-8"))


@pytest.mark.parametrize("name", OWN)
def test_card_and_closure(name: str) -> None:
    path = find_vocabulary(name)
    card = card_of(path)
    assert card["name"] == name and card["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    _, ranks = load_ranks(path, sha256=card["sha256"])
    tokens = list(ranks)
    assert len(tokens) == card["n_ranks"]
    split_tokens(tokens)  # raises unless each token is made of two before it
    assert not [token for token in tokens if re.search(rb"[0-9]{2}", token)], "digits are single"
    unreachable = find_unreachable(tokens, PATTERNS[card["pattern"]])
    assert [each._asdict() for each in unreachable] == card.get("unreachable", {"tokens": []})["tokens"]


def test_the_large_one() -> None:
    path = find_vocabulary("sluice-152k")
    card = card_of(path)
    assert card["n_ranks"] == 151_643  # as the original: with 208 special tokens ids end at 151,851
    assert [block["first_id"] for block in card["blocks"]][:2] == [0, 99_156]
    assert sum(block["tokens"] for block in card["blocks"]) == card["n_ranks"]
    assert card["base"]["vocabulary"] == "cl100k_base"
    assert build_recipe(card["recipe"]) == load_build_recipe("sluice-152k")
    # What came with cl100k_base; every token of our own is reachable.
    assert {each["token"] for each in card["unreachable"]["tokens"]} == {"１０", "２０"}
    held_back, other_kinds = card["held_back_compression"], card["other_kinds"]
    for text in ("zh", "en", "code", "all languages"):
        assert (
            held_back[text]["relative_tokens"]["sluice-152k"]
            < 1
            == held_back[text]["relative_tokens"]["qwen"]
        )
    for text, row in other_kinds.items():
        assert row["relative_tokens"]["sluice-152k"] <= 1, text


def test_the_large_one_starts_with_cl100k_base() -> None:
    try:
        start = start_merges("cl100k_base", single_digits=True)
    except FileNotFoundError as error:
        pytest.skip(str(error))
    _, ranks = load_ranks(find_vocabulary("sluice-152k"), sha256=None)
    assert list(ranks)[:99_156] == start.tokens
