"""Rules on words of a dictionary ask for the dictionary before work starts, and their counts depend on it."""

import pytest

from pipeline.annotate import segment
from pipeline.config import RecipeError
from pipeline.plan import find_hashes
from pipeline.recipe_file import load_recipe


def test_the_segmenter_is_asked_for_where_rules_need_it(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = load_recipe("quickstart", [])
    asking = load_recipe("quickstart", ['decide.thresholds.web.zh.sets=["fineweb2.zh.jieba"]'])
    monkeypatch.setattr(segment, "segmenter_version", lambda: "")
    assert segment.SEGMENTED not in find_hashes(plain)
    with pytest.raises(
        RecipeError, match=r"jieba need the package rjieba: pip install 'sluice-corpus\[zh\]'"
    ):
        find_hashes(asking)
    monkeypatch.setattr(segment, "segmenter_version", lambda: "9.9")
    assert find_hashes(asking)[segment.SEGMENTED] == "rjieba 9.9"
