"""The one keyed hash behind every random choice: which documents validate, where a copy goes, in what order.

A choice must not depend on arrival order, worker count or process, so it is a pure function of (seed, tag,
id, copy). Ids are 128-bit digests already, hence mixing matters more than cryptography: the two words of an
id, the copy and a key made from (seed, tag) pass through the finaliser of splitmix64 (Steele, Lea, Flood:
"Fast Splittable Pseudorandom Number Generators", OOPSLA 2014), which is a bijection with full avalanche.

Who can choose ids could aim at a value; nothing here protects against that. Cost: about 10 ns per id. NumPy
only, so that whoever reads or writes shards needs no compiler.
"""

import hashlib

import numpy as np
import pyarrow as pa

ID_BYTES = 16
MASK_64 = (1 << 64) - 1

# 2^64 / golden ratio: the increment of splitmix64. Odd, so that multiples of it by 0..2^64-1 are all
# different.
GAMMA = np.uint64(0x9E3779B97F4A7C15)


def keyed_u64(ids: pa.FixedSizeBinaryArray, *, seed: int, tag: str, copy: int | np.ndarray = 0) -> np.ndarray:
    """uint64 per id (fixed_size_binary[16]), uniform and independent between seeds, tags and copies
    (0..65535).

    ValueError for nulls or ids of another width.
    """
    words = id_words(ids)
    key = np.uint64(tag_key(seed, tag))
    # At least one dimension: NumPy warns when scalars wrap, arrays wrap in silence.
    copies = np.atleast_1d(np.asarray(copy, dtype=np.uint64))
    mixed = mix(words[:, 0] ^ key)
    mixed = mix(mixed ^ words[:, 1])
    return mix(mixed + (copies + np.uint64(1)) * GAMMA)


def below(keyed: np.ndarray, limits: int | np.ndarray) -> np.ndarray:
    """Integers in [0, limit) from the high halves of uint64 values, without floats; limits are at most 2^31.

    Multiply and shift (Lemire, "Fast Random Integer Generation in an Interval", 2019), without its rejection
    step: no value is favoured by more than limit / 2^32 of its share.
    """
    return ((keyed >> np.uint64(32)) * np.asarray(limits, dtype=np.uint64)) >> np.uint64(32)


def mix(values: np.ndarray) -> np.ndarray:
    """The finaliser of splitmix64 on uint64 values (wrapping arithmetic), shape kept."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def tag_key(seed: int, tag: str) -> int:
    """The 64-bit key of (seed, tag): blake2b of the tag under the seed's 64 bits."""
    key = (seed & MASK_64).to_bytes(8, "little")
    return int.from_bytes(hashlib.blake2b(tag.encode(), key=key, digest_size=8).digest(), "little")


def id_words(ids: pa.FixedSizeBinaryArray) -> np.ndarray:
    """[n, 2] uint64 little-endian words of ids (fixed_size_binary[16]); ValueError for nulls."""
    if ids.type != pa.binary(ID_BYTES):
        raise ValueError(f"ids must be {pa.binary(ID_BYTES)}, not {ids.type}")
    if ids.null_count:
        raise ValueError(f"{ids.null_count} ids are null")
    if len(ids) == 0:
        return np.empty((0, 2), np.uint64)
    words = np.frombuffer(ids.buffers()[1], dtype="<u8").reshape(-1, 2)
    return words[ids.offset : ids.offset + len(ids)]
