"""Vocabularies to test with: the packaged one, small ones, those of other packages where installed."""

import importlib.util
import json
from functools import cache
from pathlib import Path

import pytest
import tiktoken

from tokenizer_build.tokenizer import Tokenizer
from tokenizer_build.vocabulary import CL100K_PATTERN, NAMED, find_vocabulary, load_ranks, write_ranks

PACKAGES = {"qwen": "dashscope", "cl100k_base": "litellm"}


def needs(name: str) -> None:
    """Skip without the package that a vocabulary comes with."""
    if name in PACKAGES and importlib.util.find_spec(PACKAGES[name]) is None:
        pytest.skip(f"needs the vocabulary in the package {PACKAGES[name]}")


@cache
def load_once(name: str) -> Tokenizer:
    return Tokenizer.load(name)


@cache
def load_oracle(name_or_path: str, pattern: str) -> tiktoken.Encoding:
    """tiktoken with the same ranks and pattern."""
    _, ranks = load_ranks(find_vocabulary(name_or_path), sha256=None)
    return tiktoken.Encoding(name_or_path, pat_str=pattern, mergeable_ranks=ranks, special_tokens={})


@pytest.fixture(scope="session")
def cl100k_like(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packaged ranks and three numbers, under the pattern of cl100k_base, which the card names."""
    _, ranks = load_ranks(find_vocabulary("sluice-32k"), sha256=None)
    path = tmp_path_factory.mktemp("vocabulary") / "numbers.tiktoken"
    digest = write_ranks(path, [*ranks, b"12", b"123", b"99"])
    path.with_suffix(".card.json").write_text(json.dumps({"sha256": digest, "pattern": CL100K_PATTERN}))
    return path


@pytest.fixture(params=["sluice-32k", "numbers", "qwen", "cl100k_base"])
def both(request: pytest.FixtureRequest, cl100k_like: Path) -> tuple[Tokenizer, tiktoken.Encoding]:
    """A tokenizer and its oracle."""
    needs(request.param)
    name = request.param if request.param in NAMED else str(cl100k_like)
    tokenizer = load_once(name)
    return tokenizer, load_oracle(name, tokenizer.pattern)


@pytest.fixture(scope="session")
def sluice() -> Tokenizer:
    return load_once("sluice-32k")
