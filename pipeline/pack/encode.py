"""Text to token ids: which tokenizer the steps of a run use, and what their fingerprints say of it.

Nothing that a page says can become a special token: "<|endoftext|>" in a text is spelled out in ordinary
tokens. Text must be in NFC, as the normalise step leaves it.
"""

from functools import lru_cache

from tokenizer_build.tokenizer import VERSION, Tokenizer
from tokenizer_build.vocabulary import Vocabulary, find_vocabulary, load_ranks, pattern_of


@lru_cache(maxsize=1)
def load_encoder(name: str, sha256: str) -> Tokenizer:
    """The tokenizer of the recipe's `pack.vocabulary`, once per process; ValueError for another or a bad
    file.
    """
    return Tokenizer.load(name, sha256=sha256)


@lru_cache(maxsize=1)
def load_vocabulary(name: str, sha256: str) -> Vocabulary:
    """What manifest and shards say of the recipe's `pack.vocabulary`, read once per process."""
    return load_ranks(find_vocabulary(name), sha256=sha256)[0]


@lru_cache(maxsize=1)
def encoding(name: str) -> str:
    """What ids depend on beside the vocabulary file, for fingerprints."""
    return f"{VERSION} {pattern_of(find_vocabulary(name))}"
