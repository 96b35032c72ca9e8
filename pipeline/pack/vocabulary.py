"""Vocabulary files (.tiktoken): where they are, and what is in them.

A file has one token per line, base64 of its bytes and its rank; ranks are ids and merge order in one. The 208
special tokens follow the ranks in a fixed order (Qwen: `<|endoftext|>`, `<|im_start|>`, `<|im_end|>`,
`<|extra_0|>` to `<|extra_204|>`), so a file alone fixes every id. Files are parsed, never executed, and a
file of a known name is taken only with the hash that it is known by.
"""

import base64
import binascii
import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

SPECIAL_TOKENS = 208  # tokenization of the released Qwen: 3 named and 205 extras
MAX_FILE_BYTES = 64_000_000  # the Qwen file has 2.6 MB; anything near this is no vocabulary

# name -> (package, path inside it, sha256 or None where the package is this project's own)
NAMED = {
    "sluice-32k": ("tokenizer_build", "vocabularies/sluice-32k.tiktoken", None),
    "qwen": (
        "dashscope",
        "resources/qwen.tiktoken",
        "b2b1b8dfb5cc5f024bafc373121c6aba3f66f9a5a0269e243470a1de16a33186",
    ),
}


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What readers of token shards must know of a vocabulary; shards and manifest carry it."""

    name: str
    file: str  # base name of the .tiktoken file
    sha256: str  # of its bytes
    n_vocab: int  # ranks and special tokens
    eot: int  # id of <|endoftext|> = number of ranks


def find_vocabulary(name_or_path: str) -> Path:
    """The .tiktoken file of a packaged name ("sluice-32k", "qwen") or of a path.

    "qwen" lies in the package `dashscope`, which is found but never imported. FileNotFoundError says what
    exists and how to get it; ValueError if the file is not the one that its name stands for.
    """
    if name_or_path not in NAMED:
        path = Path(name_or_path).expanduser()
        if path.suffix == ".tiktoken" and path.is_file():
            return path
        raise FileNotFoundError(
            f"no vocabulary {name_or_path!r}: it is neither a packaged name ({', '.join(NAMED)})"
            " nor an existing .tiktoken file"
        )
    package, inside, sha256 = NAMED[name_or_path]
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise FileNotFoundError(
            f"vocabulary {name_or_path!r} comes with the package {package!r}: pip install {package}"
        )
    path = Path(found.submodule_search_locations[0], inside)
    if not path.is_file():
        raise FileNotFoundError(f"the installed package {package!r} has no {inside}")
    if sha256 is not None and (actual := hashlib.sha256(path.read_bytes()).hexdigest()) != sha256:
        raise ValueError(f"{path} has sha256 {actual}, the vocabulary {name_or_path!r} has {sha256}")
    return path


def load_ranks(path: Path, *, sha256: str | None) -> tuple[Vocabulary, dict[bytes, int]]:
    """A vocabulary and its ranks (token bytes -> id) from a .tiktoken file; sha256 None takes any content.

    ValueError naming file and line unless ranks run from 0 without gap over distinct tokens, all 256 bytes
    among them.
    """
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise ValueError(f"{path} has {size} bytes, more than {MAX_FILE_BYTES}: not a vocabulary")
    content = path.read_bytes()
    actual = hashlib.sha256(content).hexdigest()
    if sha256 is not None and actual != sha256:
        raise ValueError(f"{path} has sha256 {actual}, expected {sha256}")
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(content.splitlines(), start=1):
        try:
            encoded, rank = line.split(b" ")
            token = base64.b64decode(encoded, validate=True)
            if int(rank) != len(ranks):
                raise ValueError(f"rank {int(rank)} where {len(ranks)} is due")
        except (ValueError, binascii.Error) as error:
            raise ValueError(
                f"{path} line {number}: {error}; expected 'BASE64 RANK', ranks in order from 0"
            ) from None
        if not token or token in ranks:
            raise ValueError(f"{path} line {number}: token {token!r} is {'repeated' if token else 'empty'}")
        ranks[token] = len(ranks)
    missing = [byte for byte in range(256) if bytes([byte]) not in ranks]
    if missing:
        raise ValueError(
            f"{path} lacks {len(missing)} of the 256 single bytes, the first is 0x{missing[0]:02x}"
        )
    vocabulary = Vocabulary(
        name=path.stem, file=path.name, sha256=actual, n_vocab=len(ranks) + SPECIAL_TOKENS, eot=len(ranks)
    )
    return vocabulary, ranks
