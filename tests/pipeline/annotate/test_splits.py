import hashlib
import os

import pytest

from pipeline.annotate.splits import (
    SPANS_PER_SPLIT,
    InputFile,
    known_identities,
    list_input_files,
    plan_splits,
    split_from_bytes,
    split_to_bytes,
)


@pytest.fixture
def folder(tmp_path):
    for name in (
        "b.warc.gz",
        "a.warc.gz",
        "2026/c.warc.gz",
        "2026/deep/d.txt",
        ".hidden",
        "_SUCCESS",
        "2026/_tmp/x.gz",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path


def paths(*patterns: object) -> list[str]:
    return [file.path for file in list_input_files([str(pattern) for pattern in patterns])]


def test_folders_globs_and_files(folder):
    assert paths(folder) == ["2026/c.warc.gz", "2026/deep/d.txt", "a.warc.gz", "b.warc.gz"]
    assert paths(f"{folder}/") == paths(folder) == paths(folder / "**") == paths(folder / "**/*")
    assert paths(folder / "*.gz") == ["a.warc.gz", "b.warc.gz"]
    assert paths(folder / "?.warc.gz") == ["a.warc.gz", "b.warc.gz"]
    assert paths(folder / "*/*.gz") == ["2026/c.warc.gz"]
    assert paths(folder / "**/*.gz") == ["2026/c.warc.gz", "a.warc.gz", "b.warc.gz"]
    assert paths(folder / "20*/**/*.txt") == ["2026/deep/d.txt"]
    assert paths(folder / "2026/c.warc.gz") == ["c.warc.gz"]
    assert paths(folder / ".hidden") == [".hidden"]
    assert paths(folder / "_S*") == ["_SUCCESS"]


def test_roots_and_identities(folder):
    (file,) = list_input_files([f"{folder}/20*/*.gz"])
    assert (file.root, file.path, file.bytes) == (str(folder), "2026/c.warc.gz", 14)
    assert file.identity == "sha256:" + hashlib.sha256(b"2026/c.warc.gz").hexdigest()
    assert list_input_files([f"file://{folder}/2026/c.warc.gz"])[0].identity.startswith("mtime:")


def test_relative_paths_are_made_absolute(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert list_input_files(["2026"])[0].root == str(folder / "2026")


def test_a_file_that_two_patterns_list_is_taken_once(folder):
    assert paths(folder / "*.gz", folder / "a*", folder / "a.warc.gz") == ["a.warc.gz", "b.warc.gz"]
    assert paths(folder / "2026/*.gz", folder) == ["2026/deep/d.txt", "a.warc.gz", "b.warc.gz", "c.warc.gz"]


def test_bad_paths_are_named(folder):
    for missing in ("nothing", "*.parquet", "a.warc.gz/x", "nothing/*"):
        with pytest.raises(ValueError, match="matches no file"):
            paths(folder / missing)
    (folder / "other").mkdir()
    (folder / "other/c.warc.gz").write_text("another")
    with pytest.raises(ValueError, match="same ids"):
        paths(folder / "2026", folder / "other")


def test_known_files_are_not_read_again(folder):
    files = list_input_files([str(folder)])
    known = known_identities(files)
    status = (folder / "a.warc.gz").stat()
    (folder / "a.warc.gz").write_text("A.WARC.GZ")
    os.utime(folder / "a.warc.gz", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert list_input_files([str(folder)], known=known) == files
    os.utime(folder / "a.warc.gz", ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert list_input_files([str(folder)], known=known)[2].identity != files[2].identity


def file(path: str, size: int) -> InputFile:
    return InputFile("/root", path, size, f"sha256:{path}")


def test_large_files_are_cut_at_multiples_and_small_ones_grouped():
    files = [file("a.warc", 250), file("b.warc", 30), file("c.warc", 30), file("d.warc", 60)]
    splits = plan_splits(files, format="warc", split_bytes=100)
    ranges = [[(span.path, span.start, span.end) for span in split] for split in splits]
    assert ranges == [
        [("a.warc", 0, 100)],
        [("a.warc", 100, 200)],
        [("a.warc", 200, 250), ("b.warc", 0, 30)],
        [("c.warc", 0, 30), ("d.warc", 0, 60)],
    ]


@pytest.mark.parametrize(
    ("format", "path", "splits"),
    [("jsonl", "a.jsonl", 3), ("jsonl", "a.jsonl.GZ", 1), ("jsonl", "a.zst", 1), ("warc", "a.warc.gz", 3)]
    + [("parquet", "a.parquet", 3), ("html", "a.html", 1), ("text", "a.txt", 1)],
)
def test_what_can_be_cut(format, path, splits):
    assert len(plan_splits([file(path, 250)], format=format, split_bytes=100)) == splits


def test_every_file_is_planned_even_an_empty_one():
    files = [file(f"{n:05d}.html", 0) for n in range(SPANS_PER_SPLIT + 5)]
    splits = plan_splits(files, format="html", split_bytes=100)
    assert [len(split) for split in splits] == [SPANS_PER_SPLIT, 5]
    assert plan_splits([], format="html", split_bytes=100) == []


def test_splits_survive_their_bytes():
    (split,) = plan_splits([file("ü/a.warc", 250)], format="warc", split_bytes=1_000)
    assert split_from_bytes(split_to_bytes("web", split)) == ("web", split)


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match="'csv'"):
        plan_splits([], format="csv", split_bytes=1)
    with pytest.raises(ValueError, match="split_bytes is 0"):
        plan_splits([], format="warc", split_bytes=0)
