"""One survivor per cluster, by keys, then digest, then id; never by the order of rows."""

import hashlib

import numpy as np
import pyarrow as pa
import pytest

from pipeline.decide.survivors import (
    MEMBER,
    NONE,
    choose_survivors,
    earlier_first,
    find_partners,
    is_validation,
    name_deciders,
    survivor_keys,
)


def members(*rows: tuple[int, int, int, list[int], bytes]) -> np.ndarray:
    """(cluster, locator, passes, keys, name); digest and id come from the name."""
    made = np.zeros(len(rows), MEMBER)
    for row, (cluster, locator, passes, keys, name) in zip(made, rows, strict=True):
        row["cluster"], row["locator"], row["passes"] = cluster, locator, passes
        row["keys"][: len(keys)] = keys
        row["digest"] = np.frombuffer(hashlib.md5(name).digest(), ">u8")
        row["id"] = np.frombuffer(hashlib.md5(b"id" + name).digest(), ">u8")
    return made


def test_best_passing_member_survives() -> None:
    rows = members(
        (5, 5, 1, [0, 10], b"a"), (5, 6, 0, [9, 99], b"b"), (5, 7, 1, [0, 11], b"c"), (8, 8, 0, [1], b"d")
    )
    survivors, cluster_ids, _ = choose_survivors(rows)
    assert survivors.tolist() == [7, 7, 7, NONE]
    smallest = min(hashlib.md5(b"id" + name).digest() for name in (b"a", b"b", b"c"))
    assert cluster_ids[:3].tobytes() == smallest * 3


def test_extreme_keys_are_ordered() -> None:
    low, high = np.iinfo(np.int64).min, np.iinfo(np.int64).max
    survivors, _, _ = choose_survivors(
        members((1, 1, 1, [low], b"a"), (1, 2, 1, [high], b"b"), (1, 3, 1, [0], b"c"))
    )
    assert set(survivors.tolist()) == {2}


def test_ties_go_to_the_smallest_digest_in_any_order() -> None:
    names = [bytes([number]) for number in range(40)]
    rows = members(*((number % 4, number, 1, [3], name) for number, name in enumerate(names)))
    expected = {
        cluster: min(range(cluster, 40, 4), key=lambda n: hashlib.md5(names[n]).digest())
        for cluster in range(4)
    }
    for seed in range(5):
        shuffled = np.random.default_rng(seed).permutation(rows)
        survivors, cluster_ids, _ = choose_survivors(shuffled)
        assert {int(c): int(s) for c, s in zip(shuffled["cluster"], survivors, strict=True)} == expected
        assert len({bytes(x) for x in cluster_ids.view("V16")}) == 4


def test_keys_of_the_policy() -> None:
    batch = pa.record_batch(
        {
            "date": ["2024-05-01T10:00:00Z", "", "2023-01-01"],
            "url": ["http://a/bc", "", "http://a/b"],
            "characters": pa.array([5, 7, 6], pa.uint32()),
            "language_score": pa.array([9000, 1, 2], pa.uint16()),
            "priority": [1, 2, 3],
            "dump": [1, 0, 2],
        }
    )
    policy = ["priority", "newest", "oldest", "longest", "shortest_url", "language_score"]
    policy += ["earlier", "shortest"]
    keys = survivor_keys(batch, policy)
    best = keys.argmax(axis=0)[: len(policy)].tolist()
    assert best == [2, 0, 2, 1, 2, 0, 1, 0]
    assert keys[:, 1].argmin() == keys[:, 2].argmin() == 1  # no date is worst either way
    assert keys[:, 4].argmin() == 1  # so is no URL


def url_batch(urls: list[str]) -> pa.RecordBatch:
    return pa.record_batch({"url": pa.array(urls), "characters": pa.array([7] * len(urls), pa.uint32())})


def test_the_first_url_is_the_smallest_in_byte_order() -> None:
    long = f"https://example.com/{'x' * 40}"
    urls = ["", "http://b", "http://a", "ftp://z", "http://é", "~", f"{long}b", f"{long}a"]
    for policy, columns in ((["first_url"], 9), (["longest", "first_url"], 8), (["first_url", "longest"], 8)):
        keys = survivor_keys(url_batch(urls), policy)
        order = sorted(range(len(urls)), key=lambda row: keys[row].tolist(), reverse=True)
        expected = sorted((url for url in urls if url), key=str.encode)
        assert [urls[row] for row in order] == [*expected, ""]
        beyond = [f"{'x' * 8 * columns}{end}" for end in "ab"]  # behind the room that there is
        assert len(np.unique(survivor_keys(url_batch(beyond), policy), axis=0)) == 1
        shorter = [url[1:] for url in beyond]
        assert len(np.unique(survivor_keys(url_batch(shorter), policy), axis=0)) == 2


def test_the_decider_is_named_wherever_in_its_columns_the_url_decides() -> None:
    policy = ["longest", "first_url"]
    rows = members((1, 1, 1, [], b"a"), (1, 2, 1, [], b"b"))
    for urls in (["http://a", "http://b"], [f"http://{'x' * 50}{end}" for end in "ab"]):
        rows["keys"] = survivor_keys(url_batch(urls), policy)
        survivor, _, by = choose_survivors(rows)
        assert survivor.tolist() == [1, 1]
        assert name_deciders(by, policy).tolist() == ["first_url"] * 2
    before = ["first_url", "longest"]
    rows["keys"] = survivor_keys(url_batch(["http://a", "http://a"]), before)
    rows["keys"][:, -1] = [1, 2]
    assert name_deciders(choose_survivors(rows).by, before).tolist() == ["longest"] * 2


@pytest.mark.parametrize("share", [0.0, 0.05, 1.0])
def test_validation_takes_its_share_and_depends_on_the_id_alone(share: float) -> None:
    ids = np.frombuffer(
        b"".join(hashlib.md5(bytes([n % 256, n // 256])).digest() for n in range(20_000)), "S16"
    )
    chosen = is_validation(ids, share, seed=3)
    assert abs(chosen.mean() - share) < 4 * np.sqrt(max(share * (1 - share), 1e-12) / len(ids)) + 1e-9
    assert np.array_equal(is_validation(ids[::-1].copy(), share, seed=3), chosen[::-1])
    if share == 0.05:
        assert not np.array_equal(is_validation(ids, share, seed=4), chosen)
        assert is_validation(ids, 0.1, seed=3)[chosen].all()


def test_what_decided_is_recorded() -> None:
    rows = members(
        (1, 1, 1, [5, 3], b"a"),
        (1, 2, 1, [5, 2], b"b"),
        (2, 3, 1, [1, 9], b"c"),
        (2, 4, 1, [2, 0], b"d"),
        (3, 5, 1, [1], b"e"),
        (3, 6, 1, [1], b"f"),
        (4, 7, 1, [1], b"g"),
        (4, 8, 0, [9], b"h"),
        (5, 9, 0, [9], b"i"),
    )
    rows["digest"][8] = rows["digest"][7]
    by = name_deciders(choose_survivors(rows).by, ["priority", "longest"]).tolist()
    assert by == ["longest"] * 2 + ["priority"] * 2 + ["text_digest"] * 2 + ["only"] * 3
    twins = members((1, 1, 1, [5], b"a"), (1, 2, 1, [5], b"b"))
    twins["digest"] = 7
    assert name_deciders(choose_survivors(twins).by, ["priority"]).tolist() == ["id", "id"]


def test_documents_of_earlier_runs_come_first_if_they_pass() -> None:
    old, older = 7 << 32, 8 << 32 | 1  # this run has 7 parts
    rows = members(
        (1, 1, 1, [9], b"a"), (1, old, 1, [0], b"b"), (2, 2, 1, [0], b"c"), (2, older, 0, [0], b"d")
    )
    survivors = choose_survivors(earlier_first(rows, 7)).survivor.tolist()
    assert survivors == [old, old, 2, 2]


def test_partners_are_named_for_every_member_of_this_run() -> None:
    old = [part << 32 for part in (7, 8, 9)]
    rows = members(
        (1, 1, 1, [], b"a"),
        (1, old[0], 1, [], b"x"),
        (2, 2, 1, [], b"b"),
        (1, 3, 1, [], b"c"),
        (1, old[1], 1, [], b"y"),
        (1, old[2], 1, [], b"x"),
    )
    at, partners = find_partners(rows, 7)
    named = sorted(hashlib.md5(b"id" + name).digest() for name in (b"x", b"y"))
    assert at.tolist() == [0, 0, 3, 3]
    assert partners.tobytes() == b"".join(named) * 2
