r"""A vocabulary as Hugging Face `tokenizer.json`: the same ids by another library.

The file spells tokens in GPT-2's alphabet of printable characters for bytes, and lists the merge that makes
each token, in the order of ranks. Two things to know of that library:

- It takes special tokens out of any text, unless `encode_special_tokens` is set on the loaded tokenizer.
- Its pattern engine (Oniguruma) has another version of Unicode than ours, so texts with letters of the last
  years may be cut elsewhere; and it reads `{1,3}+` and `$` in other ways, so the file has a plain form of the
  pattern.

    python -m tokenizer_build.export sluice-32k tokenizer.json
"""

import argparse
import json
from pathlib import Path
from typing import Any

from tokenizer_build.tables import build_tables
from tokenizer_build.vocabulary import (
    PATTERNS,
    QWEN_PATTERN,
    find_vocabulary,
    load_ranks,
    pattern_of,
    special_tokens,
)


def byte_alphabet() -> list[str]:
    """GPT-2's character for each byte: itself where it is printable, else U+0100 and on."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) if byte in printable else chr(0x100 + others.index(byte)) for byte in range(256)]


def plain_pattern(pattern: str) -> str:
    """The pattern without what engines read differently."""
    rule = PATTERNS[pattern]
    plain = QWEN_PATTERN
    if rule.digits > 1:
        plain = plain.replace(r"|\p{N}|", rf"|\p{{N}}{{1,{rule.digits}}}|")
    if rule.one_tail:
        plain = plain.replace(r"|\s*[\r\n]+|", r"|\s+(?![\s\S])|\s*[\r\n]+|")
    return plain


def to_tokenizer_json(name_or_path: str, *, nfc: bool = True) -> dict[str, Any]:
    """The content of `tokenizer.json`, with NFC first, as in the released Qwen, unless told not to.

    ValueError if the vocabulary is not merge-shaped: no list of merges gives its ids.
    """
    path = find_vocabulary(name_or_path)
    vocabulary, ranks = load_ranks(path, sha256=None)
    halves = build_tables(ranks).halves
    if not len(halves):
        raise ValueError(f"{vocabulary.name} has tokens that merging by lower ranks does not make of two")
    alphabet = byte_alphabet()
    tokens = ["".join(alphabet[byte] for byte in token) for token in ranks]
    added = [
        {
            "id": id_,
            "content": special,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for special, id_ in special_tokens(path, len(ranks)).items()
    ]
    split = {
        "type": "Split",
        "pattern": {"Regex": plain_pattern(pattern_of(path))},
        "behavior": "Isolated",
        "invert": False,
    }
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": {"type": "NFC"} if nfc else None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]},
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: rank for rank, token in enumerate(tokens)},
            "merges": [
                [tokens[left], tokens[right]]
                for token, (left, right) in enumerate(halves.tolist())
                if left != token
            ],
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tokenizer_build.export", description=__doc__)
    parser.add_argument("vocabulary", help="a packaged name or a .tiktoken file")
    parser.add_argument("output", type=Path, help="where tokenizer.json is written")
    options = parser.parse_args()
    content = json.dumps(to_tokenizer_json(options.vocabulary), ensure_ascii=False, indent=1)
    options.output.write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main()
