"""Models of a recipe: the packaged ones, ours, KenLM's; who is scored by which, and what is refused."""

import json
import random
import shutil
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.annotate.arpa import open_model, read_header
from pipeline.annotate.perplexity import (
    FOLDER,
    PACKAGED,
    ModelFile,
    check_model,
    find_model,
    perplexity,
    plain_text,
    score_documents,
)
from pipeline.config import RecipeError
from pipeline.parts import file_sha256
from pipeline.plan import find_hashes
from pipeline.recipe_file import load_recipe
from pipeline.schema import LM_STEPS

# KenLM's build_binary trie of a random model of three words, for its loader only.
TINY = Path(__file__).with_name("tiny.kenlm")
BOOKS = FOLDER.parent / "quickstart" / "books" / "books.jsonl"


def packaged(language: str) -> ModelFile:
    path = find_model(f"sluice-{language}")
    return ModelFile(path, file_sha256(path))


@pytest.mark.parametrize("name", sorted(PACKAGED))
def test_packaged_models_are_what_their_cards_say(name: str) -> None:
    path = find_model(name)
    header, card = read_header(path), json.loads(path.with_suffix(".json").read_text())
    assert card["sha256"] == file_sha256(path) and card["bytes"] == path.stat().st_size < 3.5e6
    assert card["language"] == header.language == name.removeprefix("sluice-")
    assert tuple(card["ngrams"]) == header.ngrams and header.order == card["settings"]["order"] == 3
    assert card["about"].startswith("Good enough for the quickstart") and card["held_out"]["words"] > 10_000
    assert {"sha256", "content_digest"} <= {key for source in card["made_of"] for key in source}


def test_packaged_models_tell_text_from_the_same_words_in_disorder() -> None:
    books = [json.loads(line)["text"] for line in BOOKS.read_text().splitlines()]
    languages = ["zh" if "的" in text else "en" for text in books]
    draw, shuffled = random.Random(4), []
    for text, language in zip(books, languages, strict=True):
        units = list(text) if language == "zh" else text.split()
        draw.shuffle(units)
        shuffled.append(("" if language == "zh" else " ").join(units))
    models = {language: packaged(language) for language in ("en", "zh")}
    found = []
    for texts in (books, shuffled):
        cost, tokens = score_documents(pa.array(texts), pa.array(languages), models)
        found.append(
            np.array([perplexity(c, t) for c, t in zip(cost.to_pylist(), tokens.to_pylist(), strict=True)])
        )
    assert {*languages} == {"en", "zh"}
    assert (found[1] > 2 * found[0]).all() and found[0].max() < 2_000


def test_each_document_is_scored_by_the_model_of_its_language() -> None:
    texts = pa.array(["the gold stays behind", "黄金留下", "the gold stays behind", None, ""])
    languages = pa.array(["en", "zh", "de", "en", "en"])
    cost, tokens = score_documents(texts, languages, {"en": packaged("en"), "zh": packaged("zh")})
    assert (
        tokens.to_pylist() == [5, 5, 0, 0, 0]
        and [c > 0 for c in cost.to_pylist()] == [True] * 2 + [False] * 3
    )
    only_english = score_documents(texts, languages, {"en": packaged("en")})
    assert only_english.cost.to_pylist() == [cost[0].as_py(), 0, 0, 0, 0]
    assert perplexity(0, 0) is None and perplexity(2 * LM_STEPS, 1) == 100


def hashes_of(*settings: str) -> dict[str, str]:
    return find_hashes(load_recipe("quickstart", settings))


def test_what_cannot_be_scored_with_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arpa, cut = tmp_path / "model.arpa", tmp_path / "cut.lm"
    arpa.write_text("\\data\\\n")
    cut.write_bytes(find_model("sluice-en").read_bytes()[:-100])
    for name, says in (
        ("sluice-fr", "no language model at .*; packaged are sluice-en, sluice-zh"),
        (str(arpa), "is an ARPA file: make a model of it with `sluice train-lm --arpa`"),
        (str(cut), "is damaged: .* bytes of"),
        (str(BOOKS), "is no language model of ours"),
    ):
        with pytest.raises(RecipeError, match=f"annotate.perplexity.en: .*{says}"):
            hashes_of(f"annotate.perplexity.en={name}")
    monkeypatch.setitem(sys.modules, "kenlm", None)  # as if it was not installed
    with pytest.raises(
        RecipeError, match=r"is read by the package kenlm .* pip install 'sluice-corpus\[lm\]'"
    ):
        hashes_of(f"annotate.perplexity.en={TINY}")
    with pytest.raises(RecipeError, match=r"annotate.pieces is for KenLM's binaries"):
        hashes_of("annotate.perplexity.en=sluice-en", f"annotate.pieces.en={TINY}")


def test_a_model_is_known_by_its_hash(tmp_path: Path) -> None:
    copy = tmp_path / "copy.lm"
    shutil.copyfile(find_model("sluice-en"), copy)
    sha256 = file_sha256(copy)
    found = hashes_of("annotate.perplexity.en=sluice-en", f"annotate.perplexity.zh={copy}")
    assert found["sluice-en"] == found[str(copy)] == sha256
    copy.write_bytes(copy.read_bytes()[:-1])
    with pytest.raises(ValueError, match=f"not {sha256}: not the language model that was asked for"):
        open_model(copy, sha256)


def test_kenlm_binaries_are_scored_by_kenlm() -> None:
    kenlm = pytest.importorskip("kenlm", reason="the extra [lm] is not installed")
    check_model(TINY)
    texts = ["AX by. 99\n\nnever  seen", "", "ax\nax"]
    model = ModelFile(TINY, file_sha256(TINY))
    cost, tokens = score_documents(pa.array(texts), pa.array(["en"] * 3), {"en": model})
    theirs = kenlm.Model(str(TINY))
    lines = [["ax by . 00", "never seen"], [], ["ax", "ax"]]
    assert tokens.to_pylist() == [8, 0, 4]
    assert cost.to_pylist() == [sum(round(-theirs.score(line) * LM_STEPS) for line in of) for of in lines]
    with pytest.raises(ValueError, match="not the language model that was asked for"):
        score_documents(pa.array(texts), pa.array(["en"] * 3), {"en": ModelFile(TINY, "00")})


def test_pieces_are_scored_as_cc_net_scores_them(tmp_path: Path) -> None:
    kenlm = pytest.importorskip("kenlm", reason="the extra [lm] is not installed")
    sentencepiece = pytest.importorskip("sentencepiece", reason="the extra [lm] is not installed")
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n".join(json.loads(line)["text"] for line in BOOKS.read_text().splitlines()))
    sentencepiece.SentencePieceTrainer.train(
        input=str(corpus), model_prefix=str(tmp_path / "sp"), vocab_size=1500, minloglevel=2
    )
    pieces = tmp_path / "sp.model"
    check_model(TINY, pieces=str(pieces))
    text = " The Gold’s\n100 … Été\t米酒 "
    assert plain_text(text) == "the gold's000 ... ete米酒"
    model = ModelFile(TINY, file_sha256(TINY), str(pieces), file_sha256(pieces))
    cost, tokens = score_documents(pa.array([text]), pa.array(["en"]), {"en": model})
    cut = sentencepiece.SentencePieceProcessor(model_file=str(pieces)).encode_as_pieces(plain_text(text))
    assert tokens.to_pylist() == [len(cut) + 1]
    assert cost.to_pylist() == [round(-kenlm.Model(str(TINY)).score(" ".join(cut)) * LM_STEPS)]
