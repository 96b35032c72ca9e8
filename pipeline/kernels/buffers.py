"""Arrow string columns as the two plain arrays that kernels read, and back.

Cost: the text itself is never copied; 8 bytes of offsets per document are made for `string` (whose offsets
are 32 bits). The one exception is a null that hides text behind it (legal in Arrow, made by no common
writer): such a column is copied with its nulls emptied, so that a kernel never reads what the column says is
not there.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray


class TextBuffers(NamedTuple):
    """UTF-8 documents end to end: document i is `bytes[offsets[i]:offsets[i + 1]]`. Both are read-only.

    `offsets`: int64 [documents + 1], never decreasing, does not have to start at 0. `bytes`: uint8 [any].
    """

    offsets: NDArray[np.int64]
    bytes: NDArray[np.uint8]


def text_buffers(text: pa.Array) -> TextBuffers:
    """View a `string` or `large_string` array (sliced, empty or with nulls) as buffers; a null has no bytes.

    TypeError for any other type, chunked arrays among them.
    """
    if not isinstance(text, pa.StringArray | pa.LargeStringArray):
        raise TypeError(
            f"text must be a string or large_string array, not {getattr(text, 'type', type(text))}"
        )
    buffers = _views(text)
    if text.null_count:
        lengths = np.diff(buffers.offsets)
        is_null = text.is_null().to_numpy(zero_copy_only=False)
        if lengths[is_null].any():
            buffers = _views(pc.fill_null(text, ""))
    return buffers


def text_array(buffers: TextBuffers) -> pa.LargeStringArray:
    """Documents as a `large_string` array without nulls (no copy of either array)."""
    documents = len(buffers.offsets) - 1
    return pa.LargeStringArray.from_buffers(
        documents, pa.py_buffer(np.ascontiguousarray(buffers.offsets)), pa.py_buffer(buffers.bytes)
    )


def count_batch(counts: NDArray[np.generic], names: Iterable[str]) -> pa.RecordBatch:
    """What a kernel counted, [documents, names], as columns of those names."""
    return pa.RecordBatch.from_arrays(
        [pa.array(column) for column in np.ascontiguousarray(counts.T)], names=list(names)
    )


def read_only(array: NDArray[np.generic]) -> NDArray:
    """The same memory, marked read-only: kernels are compiled for read-only inputs, in one form each."""
    view = array.view()
    view.setflags(write=False)
    return view


def _views(text: pa.StringArray | pa.LargeStringArray) -> TextBuffers:
    """The array's own memory; an empty array may have no offsets, an array of empty strings no bytes."""
    _, offsets_buffer, bytes_buffer = text.buffers()
    if len(text) == 0 or offsets_buffer is None:
        return TextBuffers(read_only(np.zeros(1, np.int64)), read_only(np.zeros(0, np.uint8)))
    width = np.dtype(np.int64 if isinstance(text, pa.LargeStringArray) else np.int32)
    offsets = np.frombuffer(offsets_buffer, width, count=len(text) + 1, offset=text.offset * width.itemsize)
    content = np.zeros(0, np.uint8) if not bytes_buffer else np.frombuffer(bytes_buffer, np.uint8)
    return TextBuffers(read_only(offsets.astype(np.int64, copy=False)), read_only(content))
