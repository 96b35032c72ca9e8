"""Text to token ids: the one place where a byte-pair encoder is called.

The encoder is tiktoken with the pattern of the Qwen vocabulary. It knows no special tokens, so nothing that a
page says can become one: "<|endoftext|>" in a text is spelled out in ordinary tokens.

Text is not cut to spare the encoder: pieces of millions of letters, digits or signs are encoded in linear
time. One alternative of the pattern, `\\s+(?!\\S)`, backtracks one step per character and gives up above a
million of them; such runs of white space are taken out beforehand, where the pattern would cut anyway
(`_segments`).

Cost: about 8 MB/s of Chinese and 10 to 15 of English per core; loading takes 0.1 s for 32,768 ranks.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import tiktoken

from tokenizer_build.vocabulary import Vocabulary, load_ranks

# The Qwen tokenizer's pattern: that of cl100k_base with single digits (\p{N} for \p{N}{1,3}).
PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

# Unicode White_Space without \r and \n, the \s of the pattern. (Python's own \s adds U+001C to U+001F.)
BLANK = "\t\x0b\x0c \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
LONG_RUN = 100_000  # characters; a tenth of where the pattern's engine gives up
# Whole runs only, by look-behind and possessive repetition: one pass over the text, whatever it holds.
LONG_BLANKS = re.compile(rf"(?<![{BLANK}])[{BLANK}]{{{LONG_RUN},}}+(?![\r\n])")
NO_TOKENS = np.empty(0, np.int32)


@dataclass(frozen=True, slots=True)
class Encoder:
    """A loaded vocabulary; safe to share between threads."""

    vocabulary: Vocabulary
    pieces: tiktoken.Encoding  # cuts text by PATTERN, then merges
    whole: tiktoken.Encoding  # merges its text as one piece

    def encode_batch(self, text: pa.Array) -> pa.ListArray:
        """list<int32> of ordinary token ids per text (string or large_string, in NFC); null for null."""
        encoded = [self._encode(value) if value is not None else NO_TOKENS for value in text.to_pylist()]
        offsets = np.concatenate(([0], np.cumsum([len(ids) for ids in encoded], dtype=np.int64)))
        if offsets[-1] > np.iinfo(np.int32).max:
            raise ValueError(f"{offsets[-1]} tokens in one batch exceed int32 offsets: use smaller batches")
        ids = np.concatenate(encoded) if encoded else NO_TOKENS
        nulls = text.is_null() if text.null_count else None
        return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(ids), mask=nulls)

    def _encode(self, text: str) -> np.ndarray:
        if len(text) < LONG_RUN:
            return np.array(self.pieces.encode_ordinary(text), dtype=np.int32)
        ids = [
            encoding.encode_ordinary(text[start:end])
            for start, end, blank in _segments(text)
            for encoding in [self.whole if blank else self.pieces]
        ]
        return np.concatenate([np.array(part, dtype=np.int32) for part in ids])


def load_encoder(path: Path, *, sha256: str | None) -> Encoder:
    """The encoder of a .tiktoken file with this sha256 (None: any); ValueError for another or a bad file."""
    vocabulary, ranks = load_ranks(path, sha256=sha256)
    return Encoder(
        vocabulary,
        pieces=tiktoken.Encoding(vocabulary.name, pat_str=PATTERN, mergeable_ranks=ranks, special_tokens={}),
        whole=tiktoken.Encoding(vocabulary.name, pat_str="(?s).+", mergeable_ranks=ranks, special_tokens={}),
    )


def _segments(text: str) -> Iterator[tuple[int, int, bool]]:
    """Cuts a text into (start, end, is one piece of blanks) so that encoding the segments gives the same ids.

    Before a long run of blanks stands a line end or no white space at all, and no alternative of the pattern
    goes on from there into two blanks: a piece starts with the run. Without a line end behind it, the run is
    one piece, less its last blank if a word or sign follows (the look-ahead), which then starts the next
    piece. A run that ends in a line end is matched by `\\s*[\\r\\n]+`, which does not backtrack, and stays
    where it is. The pattern never looks back, so what follows a piece is cut as if the text started there.
    """
    start = 0
    for run in LONG_BLANKS.finditer(text):
        end = run.end() if run.end() == len(text) else run.end() - 1
        if run.start() > start:
            yield start, run.start(), False
        yield run.start(), end, True
        start = end
    if start < len(text):
        yield start, len(text), False
