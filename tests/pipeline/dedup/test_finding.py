"""What bands, groups and comparison find together: against brute force, the theory, and real revisions."""

import json
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.annotate.digests import text_digests
from pipeline.dedup.buckets import distinct_groups, find_groups
from pipeline.dedup.candidates import FOLLOWER, band_rows, digest_rows, digest_words, run_bounds, star_edges
from pipeline.dedup.curve import found_chance, meeting_chance
from pipeline.kernels.compare import (
    CONTAINMENT,
    JACCARD,
    LEADERS,
    MILLION,
    NONE,
    SIGNATURE,
    Evidence,
    match_members,
    similarity_ppm,
)
from pipeline.kernels.components import forest_edges, join_edges, new_forest, part_starts
from pipeline.kernels.minhash import band_keys, minhash_signatures
from pipeline.kernels.shingles import Shingling, shingle_sets

BANDS, ROWS = 14, 8
WORDS = Shingling("words", 5, 500_000)
SHARED = Path(__file__).resolve().parents[3] / "../shared/data"


def find_pairs(
    texts: list[str],
    *,
    measure: int = SIGNATURE,
    threshold: float = 0.7,
    shingling: Shingling = WORDS,
    order: np.ndarray | None = None,
    max_bucket: int = 1_000,
) -> set[tuple[int, int]]:
    """Pairs (of numbers of texts) that the dedup phase would verify."""
    signed = minhash_signatures(pa.array(texts), shingling, permutations=BANDS * ROWS, seed=1).signatures
    present = np.flatnonzero(signed.is_valid().to_numpy(zero_copy_only=False))
    keys = band_keys(signed.drop_null(), bands=BANDS, rows=ROWS)
    digests = digest_words(text_digests(pa.array(texts)))[present, 0]
    rows = band_rows(keys, np.zeros(len(present), np.uint32), digests, present.astype(np.uint64))
    if order is not None:
        rows = (
            rows[order % len(rows)] if len(order) == len(rows) else np.random.default_rng(1).permutation(rows)
        )
    members = distinct_groups(find_groups(rows, parts=1, max_bucket=max_bucket).members)
    if measure in (JACCARD, CONTAINMENT):
        evidence = Evidence(*shingle_sets(pa.array(texts), shingling))
    else:
        values = signed.fill_null([0] * (BANDS * ROWS)) if signed.null_count else signed
        flat = values.flatten().to_numpy()
        evidence = Evidence(np.arange(len(texts) + 1, dtype=np.int64) * BANDS * ROWS, flat)
    found = match_members(
        run_bounds(members["group"]),
        members["locator"].astype(np.int64),
        np.zeros(len(members), bool),
        evidence,
        measure=measure,
        least=round(threshold * MILLION),
    ).leaders
    ends = [(int(members["locator"][a]), int(members["locator"][b])) for b, a in enumerate(found) if a >= 0]
    return {(min(pair), max(pair)) for pair in ends}


def pair_of_texts(rng: np.random.Generator, jaccard: float, words: int = 600) -> tuple[str, str]:
    """Two texts of new words, of which one has so many words replaced that their shingles have that share."""
    one = [f"w{number}" for number in rng.integers(0, 10**12, words)]
    kept = (2 * jaccard / (1 + jaccard)) ** (1 / 5)
    other = [word if rng.random() < kept else f"x{rng.integers(10**12)}" for word in one]
    return " ".join(one), " ".join(other)


def true_jaccard(one: str, other: str) -> float:
    first, second = (shingle_sets(pa.array([text]), WORDS).hashes for text in (one, other))
    return similarity_ppm(first, second, measure=JACCARD) / MILLION


@pytest.mark.parametrize("measure", [NONE, SIGNATURE])
@pytest.mark.parametrize("jaccard", [0.6, 0.72, 0.8, 0.9])
def test_recall_is_that_of_the_theory(jaccard: float, measure: int) -> None:
    """Found pairs lie within 4 standard deviations of the chances of their true similarities."""
    rng = np.random.default_rng(int(100 * jaccard))
    pairs = [pair_of_texts(rng, jaccard) for _ in range(300)]
    found = find_pairs([text for pair in pairs for text in pair], measure=measure)
    similarities = [true_jaccard(*pair) for pair in pairs]
    if measure == NONE:
        chances = np.array([meeting_chance(s, bands=BANDS, rows=ROWS) for s in similarities])
    else:
        chances = np.array([found_chance(s, bands=BANDS, rows=ROWS, threshold=0.7) for s in similarities])
    hits = sum((2 * number, 2 * number + 1) in found for number in range(len(pairs)))
    assert len(found) == hits  # nothing is found between pairs
    deviation = np.sqrt((chances * (1 - chances)).sum()) + 1
    assert abs(hits - chances.sum()) < 4 * deviation


def test_found_chance_by_simulation() -> None:
    rng = np.random.default_rng(5)
    for similarity in (0.65, 0.72, 0.8):
        agree = rng.random((20_000, BANDS, ROWS)) < similarity
        hits = (agree.all(axis=2).sum(axis=1) > 0) & (agree.sum(axis=(1, 2)) >= 79)  # 0.7 of 112
        chance = found_chance(similarity, bands=BANDS, rows=ROWS, threshold=0.7)
        assert abs(hits.mean() - chance) < 4 * np.sqrt(chance * (1 - chance) / len(hits))
    for similarity, chance in ((0.7, 0.565), (0.75, 0.772), (0.8, 0.924), (0.85, 0.988)):
        assert abs(meeting_chance(similarity, bands=14, rows=8) - chance) < 5e-4  # FineWeb's


@pytest.mark.parametrize("measure", [JACCARD, CONTAINMENT])
def test_exact_comparison_keeps_exactly_the_similar_pairs(measure: int) -> None:
    rng = np.random.default_rng(9)
    texts = [text for _ in range(80) for text in pair_of_texts(rng, float(rng.uniform(0.45, 0.9)))]
    met = find_pairs(texts, measure=NONE)
    sets = shingle_sets(pa.array(texts), WORDS).split()
    similar = {p for p in met if similarity_ppm(sets[p[0]], sets[p[1]], measure=measure) >= 700_000}
    assert find_pairs(texts, measure=measure) == similar
    assert 0 < len(similar) < len(met)


def test_the_order_of_rows_does_not_matter() -> None:
    rng = np.random.default_rng(11)
    texts = [text for _ in range(60) for text in pair_of_texts(rng, 0.8)] * 2
    expected = find_pairs(texts)
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(texts) * BANDS)
        assert find_pairs(texts, order=order) == expected


def test_a_member_that_is_like_no_leader_becomes_one() -> None:
    """Ten documents of five kinds in one bucket: every kind is one cluster, after few comparisons."""
    values = np.repeat(np.arange(5, dtype=np.uint32), 2)[:, None] * np.ones((1, 10), np.uint32)
    evidence = Evidence(np.arange(11, dtype=np.int64) * 10, values.ravel().copy())
    found = match_members(
        np.array([0, 10]), np.arange(10), np.zeros(10, bool), evidence, measure=SIGNATURE, least=900_000
    )
    assert found.leaders.tolist() == [-1, 0, -1, 2, -1, 4, -1, 6, -1, 8]
    assert (found.overflow, found.compared) == (0, 1 + 1 + 2 + 2 + 3 + 3 + 4 + 4 + 5)


def test_overflow_is_counted_and_followers_never_lead() -> None:
    kinds = LEADERS + 3
    evidence = Evidence(np.arange(kinds + 1, dtype=np.int64), np.arange(kinds, dtype=np.uint32))
    follows = np.arange(kinds) == kinds - 1
    found = match_members(
        np.array([0, kinds]), np.arange(kinds), follows, evidence, measure=SIGNATURE, least=1_000_000
    )
    assert found.leaders.tolist() == [-1] * kinds
    assert found.overflow == 2
    twice = np.array([0, 1, 0])
    found = match_members(
        np.array([0, 3]), twice, np.array([False, True, True]), evidence, measure=SIGNATURE, least=1
    )
    assert found.leaders.tolist() == [-1, -1, 0]


def test_a_hot_bucket_of_a_million_documents_is_cut_up_and_joined() -> None:
    documents, most = 1_000_000, 100_000
    keys = np.full((documents, 1), 77, np.uint64)
    digests = np.random.default_rng(2).permutation(documents).astype(np.uint64)
    rows = band_rows(keys, np.zeros(documents, np.uint32), digests, np.arange(documents, dtype=np.uint64))
    groups = find_groups(rows, parts=1, max_bucket=most)
    assert (groups.buckets, groups.cut, groups.largest) == (1, 1, documents)
    members = distinct_groups(groups.members)
    bounds = run_bounds(members["group"])
    assert np.diff(bounds).max() <= most
    first = int(np.argmin(digests))
    assert (members["locator"][bounds[:-1]] == first).all()  # the bucket's first leads every piece
    evidence = Evidence(np.array([0, 4]), np.zeros(4, np.uint32))  # all alike
    same = np.zeros(len(members), np.int64)
    found = match_members(bounds, same, same > 0, evidence, measure=SIGNATURE, least=700_000)
    assert found.overflow == 0
    joined = members["locator"][found.leaders >= 0]
    assert len(np.unique(joined)) == documents - 1
    assert (members["locator"][found.leaders[found.leaders >= 0]] == first).all()


def test_equal_texts_stand_once_and_groups_of_equal_members_are_one() -> None:
    keys = np.array([[1, 2, 3]] * 4, np.uint64)
    ranks = np.array([0, 0, 0, FOLLOWER], np.uint32)
    rows = band_rows(keys, ranks, np.array([9, 9, 5, 9], np.uint64), np.array([0, 1, 2, 2], np.uint64))
    found = find_groups(rows, parts=1, max_bucket=100)
    assert (found.buckets, found.cut, found.largest) == (3, 0, 2)
    members = distinct_groups(found.members)
    assert members["locator"].tolist() == [2, 0, 2]  # by digest, the follower last
    assert members["rank"].tolist() == [0, 0, FOLLOWER]


def test_documents_of_earlier_runs_alone_are_not_compared_again() -> None:
    keys = np.array([[1], [1], [2], [2]], np.uint64)
    old = np.uint64(5) << np.uint64(32)
    locators = np.array([old, old + np.uint64(1), old, 3], np.uint64)
    rows = band_rows(keys, np.array([0, 0, 0, 1], np.uint32), np.arange(4, dtype=np.uint64), locators)
    found = find_groups(rows, parts=5, max_bucket=10)
    assert found.buckets == 1
    assert found.members["locator"].tolist() == [old, 3]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_recall_on_real_revisions(language: str) -> None:
    """Old and new versions of real documents: those of similarity 0.85 and more are found."""
    archive, listing = SHARED / "neardup.tar.gz", SHARED / "neardup-pairs.json"
    if not archive.exists() or not listing.exists():
        pytest.skip(f"the revision pairs are not here: {archive}")
    listed = [entry for entry in json.loads(listing.read_text()) if entry["lang"] == language]
    folder = f"neardup/doc_revisions/{language}"
    texts = []
    with tarfile.open(archive) as files:
        for entry in listed:
            for side in "ab":
                member = files.extractfile(
                    f"{folder}/{entry['repo'].replace('/', '+')}/{entry['id']}.{side}.txt"
                )
                assert member is not None
                texts.append(member.read().decode(errors="replace"))
    pairs = listed
    starts = part_starts(np.array([len(texts)]))
    forest = new_forest(starts)
    join_edges(forest, starts, np.array(sorted(find_pairs(texts)), np.uint64))
    digests = digest_rows(text_digests(pa.array(texts)), np.arange(len(texts), dtype=np.uint64))
    join_edges(forest, starts, star_edges(digests))
    root = np.arange(len(texts))
    for block in forest_edges(forest, starts):
        root[block[:, 0].astype(np.int64)] = block[:, 1]
    sets = shingle_sets(pa.array(texts), WORDS).split()
    chances, hits = [], 0
    for number in range(len(pairs)):
        similarity = similarity_ppm(sets[2 * number], sets[2 * number + 1], measure=JACCARD) / MILLION
        if texts[2 * number] != texts[2 * number + 1] and 0.85 <= similarity < 1:
            chances.append(found_chance(similarity, bands=BANDS, rows=ROWS, threshold=0.7))
            hits += bool(root[2 * number] == root[2 * number + 1])
    chances = np.array(chances)
    assert len(chances) > 5
    assert hits > chances.sum() - 4 * np.sqrt((chances * (1 - chances)).sum()) - 2
