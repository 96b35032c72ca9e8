"""Judgements of a reader come back as labels of blocks, and hold no text."""

import numpy as np
import pytest

from pipeline.annotate.extract.training.hand_labels import label_by_hand, read_hand_labels, record

PAGE = ["Menu", "A headline", "First paragraph.", "More", "Second  paragraph.", "More", "About the author"]


def judge(folder, **changes):
    judgement = {"name": "a.html", "drawn": "random", "keep": "1-2,4,5", "unclear": "6"} | changes
    record({"a.html": PAGE}, [judgement], folder / "labels.jsonl")


def test_labels_come_back(tmp_path):
    judge(tmp_path)
    found = read_hand_labels(tmp_path / "labels.jsonl")
    assert len(found) == 1
    labels = found["a.html"]
    assert labels.drawn == "random"
    # The two blocks "More" are told apart by their order: the first is surroundings, the second is kept.
    assert label_by_hand(PAGE, labels).tolist()[:6] == [0, 1, 1, 0, 1, 1]
    assert np.isnan(label_by_hand(PAGE, labels)[6])
    assert "paragraph" not in (tmp_path / "labels.jsonl").read_text()


def test_block_cut_otherwise_is_unclear_not_wrong(tmp_path):
    judge(tmp_path)
    labels = read_hand_labels(tmp_path / "labels.jsonl")["a.html"]
    found = label_by_hand(["Menu More", "A headline", "Second paragraph."], labels)
    assert np.isnan(found[0])
    assert found.tolist()[1:] == [1, 1]  # white space does not count


def test_number_beyond_the_page_is_refused(tmp_path):
    with pytest.raises(ValueError, match="block 7 of a page with 7"):
        judge(tmp_path, keep="1-7")


def test_packaged_judgements_are_whole():
    labels = read_hand_labels()
    assert {one.drawn for one in labels.values()} == {"random", "doubtful"}
    assert all(one.kept and not one.kept & one.dropped for one in labels.values())
    assert sum(one.drawn == "random" for one in labels.values()) >= 60
