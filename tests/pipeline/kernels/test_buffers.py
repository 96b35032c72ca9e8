"""Arrow string columns as kernel inputs: slices, nulls, empty arrays, both offset widths."""

import numpy as np
import pyarrow as pa
import pytest

from pipeline.kernels.buffers import TextBuffers, text_array, text_buffers

TEXTS = ["", "abc", None, "日本", "", "z" * 100, None]


def documents(buffers: TextBuffers) -> list[str]:
    return [
        bytes(buffers.bytes[start:stop]).decode()
        for start, stop in zip(buffers.offsets[:-1], buffers.offsets[1:], strict=True)
    ]


@pytest.mark.parametrize("storage", [pa.string(), pa.large_string()])
@pytest.mark.parametrize(("start", "length"), [(0, 7), (1, 4), (3, 0), (6, 1), (2, 5)])
def test_slices_and_nulls_keep_their_rows(storage: pa.DataType, start: int, length: int) -> None:
    buffers = text_buffers(pa.array(TEXTS, storage).slice(start, length))
    assert documents(buffers) == [text or "" for text in TEXTS[start : start + length]]
    assert buffers.offsets.dtype == np.int64
    assert buffers.bytes.dtype == np.uint8
    assert not buffers.offsets.flags.writeable
    assert not buffers.bytes.flags.writeable


@pytest.mark.parametrize("storage", [pa.string(), pa.large_string()])
@pytest.mark.parametrize("texts", [[], [""], [None], ["", None, ""]])
def test_arrays_without_a_byte(storage: pa.DataType, texts: list[str | None]) -> None:
    assert documents(text_buffers(pa.array(texts, storage))) == ["" for _ in texts]


def test_text_behind_a_null_is_not_seen() -> None:
    offsets = pa.py_buffer(np.array([0, 1, 4, 5], np.int32))
    text = pa.StringArray.from_buffers(3, offsets, pa.py_buffer(b"asecb"), pa.py_buffer(bytes([0b101])))
    assert text.to_pylist() == ["a", None, "b"]
    assert documents(text_buffers(text)) == ["a", "", "b"]
    assert documents(text_buffers(text.slice(1))) == ["", "b"]


def test_the_bytes_are_not_copied() -> None:
    text = pa.array(["abc", "def"])
    assert np.shares_memory(text_buffers(text).bytes, np.frombuffer(text.buffers()[2], np.uint8))


@pytest.mark.parametrize(
    "column",
    [pa.array([b"a"]), pa.array([1]), pa.array(["a"]).dictionary_encode(), pa.chunked_array([["a"]]), ["a"]],
)
def test_other_types_are_refused(column: object) -> None:
    with pytest.raises(TypeError, match="text must be a string or large_string array"):
        text_buffers(column)  # type: ignore[arg-type]


def test_text_array_gives_the_documents_back() -> None:
    assert text_array(text_buffers(pa.array(TEXTS).slice(1, 5))).to_pylist() == [
        "abc",
        "",
        "日本",
        "",
        "z" * 100,
    ]
    assert text_array(text_buffers(pa.array([], pa.string()))).to_pylist() == []
