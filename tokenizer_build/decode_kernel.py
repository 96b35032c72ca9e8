"""Token ids back to bytes: lengths first, then one copy."""

from pipeline.kernels.jit import kernel


@kernel
def measure_documents(offsets, ids, starts, known, ends):
    """Write where each document's bytes end; returns -1, or the place of the first id that is no token."""
    total = 0
    for document in range(offsets.size - 1):
        for place in range(offsets[document], offsets[document + 1]):
            token = ids[place]
            if token < 0 or token >= known.size or not known[token]:
                return place
            total += starts[token + 1] - starts[token]
        ends[document] = total
    return -1


@kernel
def decode_documents(ids, starts, content, text):
    """Write the bytes of tokens end to end."""
    at = 0
    for place in range(ids.size):
        token = ids[place]
        for source in range(starts[token], starts[token + 1]):
            text[at] = content[source]
            at += 1
