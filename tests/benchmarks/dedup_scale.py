"""Deduplication of 10^10 documents on paper, computed: `python tests/benchmarks/dedup_scale.py [--documents
N]`

Sizes of rows are those of the code; rates and shares are those that dedup.py and the pool measured, and are
named below. Rounds of stars are simulated on chains, the slowest graph, of growing length.
"""

import argparse
import math
import sys
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[2]
sys.path[:1] = [str(ROOT)]

from pipeline.config import Recipe  # noqa: E402
from pipeline.decide.survivors import MEMBER, VERDICT  # noqa: E402
from pipeline.dedup.buckets import GROUPED  # noqa: E402
from pipeline.dedup.candidates import BANDED, KEYED  # noqa: E402
from pipeline.dedup.evidence import REQUEST  # noqa: E402
from pipeline.dedup.stars import HALF, both_ways, large_star, small_star  # noqa: E402

TEXT_BYTES = 5_000  # of a document
IN_GROUPS = 0.30  # share of documents that meet another in a bucket: web pages, with their copies
GROUPS_PER_DOCUMENT = 3.0  # different groups that such a document is in
EDGES_PER_DOCUMENT = 0.35
DOCUMENTS_PER_PART = 12_000  # a part of 64 MB of compressed input
PARTS_PER_PARTITION = 16
CPU_HOURS_PER_TB = 5.0  # the whole phase, measured by dedup.py
BYTES_PER_NODE = 8  # of the union-find forest above 2^32 documents


def rounds_of_chain(length: int) -> int:
    """Rounds until nothing changes, of a chain whose names are in random order."""
    names = np.random.default_rng(1).permutation(length).astype(np.uint64)
    edges = np.stack([names[:-1], names[1:]], axis=1)
    rounds = 0
    while True:
        stars = large_star(both_ways(edges))
        joined = small_star(stars)
        rounds += 1
        if joined.shape == edges.shape and np.array_equal(joined, edges):
            return rounds
        edges = joined


def main() -> None:
    """Computes and prints."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--documents", type=float, default=1e10)
    documents = parser.parse_args().documents
    minhash = Recipe("paper", ()).minhash
    values = minhash.bands * minhash.rows
    parts = math.ceil(documents / DOCUMENTS_PER_PART)
    partitions = math.ceil(parts / PARTS_PER_PARTITION)
    grouped, edges = IN_GROUPS * documents, EDGES_PER_DOCUMENT * documents
    rows = (
        ("digests of ids, URLs, texts", 3 * documents * KEYED.itemsize),
        ("bands", documents * minhash.bands * BANDED.itemsize),
        ("members of groups", grouped * GROUPS_PER_DOCUMENT * GROUPED.itemsize),
        ("requests", grouped * 2 * REQUEST.itemsize),
        ("evidence: signatures to where groups are", grouped * 2 * (4 * values + 12)),
        ("forest and labels", grouped * 32),
        ("members of clusters, and verdicts", grouped * (MEMBER.itemsize + VERDICT.itemsize)),
    )
    console = Console()
    table = Table(
        "shuffled", title=f"{documents:,.0f} documents, {documents * TEXT_BYTES / 1e12:,.1f} TB of text"
    )
    for heading in ("TB", "bytes per document", "MB per partition"):
        table.add_column(heading, justify="right")
    for name, size in rows:
        table.add_row(
            name, f"{size / 1e12:,.2f}", f"{size / documents:,.0f}", f"{size / partitions / 1e6:,.1f}"
        )
    total = sum(size for _, size in rows)
    table.add_row("together", f"{total / 1e12:,.2f}", f"{total / documents:,.0f}", "")
    console.print(table)
    lengths = [10, 100, 1_000, 10_000, 100_000, 1_000_000]
    rounds = [rounds_of_chain(length) for length in lengths]
    per_tenfold = (rounds[-1] - rounds[1]) / (len(rounds) - 2)
    console.print(
        f"{parts:,} parts, {partitions:,} partitions. A worker holds one partition: at most "
        f"{max(size for _, size in rows) / partitions / 1e6:,.0f} MB of rows, three times that while it "
        "sorts.\n"
        f"Union-find on one worker: {documents * BYTES_PER_NODE / 1e9:,.0f} GB of forest, "
        f"{edges * 0.2e-6 / 3600:,.1f} hours for {edges:,.0f} edges; stars instead move "
        f"{2 * edges * HALF.itemsize / 1e12:,.2f} TB per round.\n"
        f"Rounds of stars for chains of {', '.join(f'{length:,}' for length in lengths)}: "
        f"{', '.join(map(str, rounds))}, or {per_tenfold:.1f} more for a chain ten times as long; clusters "
        "of web pages are far from chains.\n"
        f"CPU at {CPU_HOURS_PER_TB:g} hours per TB: "
        f"{CPU_HOURS_PER_TB * documents * TEXT_BYTES / 1e12:,.0f} hours; signatures on disk "
        f"{documents * 4 * values / 1e12:,.1f} TB.\n"
        f"Assumed: {IN_GROUPS:.0%} of documents share a bucket with another, in {GROUPS_PER_DOCUMENT:g} "
        f"different groups each, {EDGES_PER_DOCUMENT:g} edges per document.",
        highlight=False,
    )


if __name__ == "__main__":
    main()
