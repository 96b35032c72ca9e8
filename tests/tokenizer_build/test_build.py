"""Whole builds from small text: what comes out, whatever the order; what is refused; what is pruned."""

import gzip
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tokenizer_build.build import PARTS, build_tokens, check_tokens, count_corpus, start_merges
from tokenizer_build.build_recipe import RECIPES, BuildRecipe, RecipeError, build_recipe, load_build_recipe
from tokenizer_build.characters import as_pieces, charset_characters, count_characters, covering
from tokenizer_build.cli import main
from tokenizer_build.documents import read_documents
from tokenizer_build.merge_table import Merges, byte_merges, split_tokens
from tokenizer_build.pruning import prune
from tokenizer_build.reachability import NOT_NFC, SPLIT, find_unreachable
from tokenizer_build.tokenizer import Tokenizer
from tokenizer_build.vocabulary import PATTERNS, QWEN_PATTERN, find_vocabulary, load_ranks, write_ranks

TREE: dict[str, Any] = {
    "name": "tiny",
    "ranks": 560,
    "held_back": 5,
    "baselines": ["sluice-32k"],
    "texts": [{"language": "zh", "path": "zh.jsonl.gz"}, {"language": "en", "path": "en.jsonl"}],
    "blocks": [
        {"name": "characters", "kind": "characters", "shares": {"zh": 1}, "coverage": 0.9},
        {"name": "words", "kind": "merges", "shares": {"zh/a": 2, "en": 1}, "spare": 40, "longest_bytes": 12},
    ],
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    draw = random.Random(3)
    stems = ["".join(draw.choices("的一是不了人我在有他这中大来上国", k=3)) for _ in range(60)]
    words = ["".join(draw.choices("etaoinshrdlu", k=draw.randint(2, 7))) for _ in range(90)]
    chinese = [
        {"text": "，".join(draw.choices(stems, k=30)) + "。", "source": "ab"[i % 2]} for i in range(30)
    ]
    english = [
        {"text": " ".join(draw.choices(words, k=60)) + " 123.\n", "source": "x", "license": "CC0"}
        for _ in range(30)
    ]
    write(tmp_path, chinese, english)
    return tmp_path


def write(folder: Path, chinese: list[dict[str, str]], english: list[dict[str, str]]) -> None:
    lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in chinese]
    (folder / "zh.jsonl.gz").write_bytes(gzip.compress("".join(lines).encode()))
    (folder / "en.jsonl").write_text("".join(json.dumps(record) + "\n" for record in english), "utf-8")


def built(recipe: BuildRecipe, data: Path) -> Merges:
    merges, _ = build_tokens(recipe, count_corpus(recipe, data), say=lambda _: None)
    return merges


def changed(**changes: Any) -> dict[str, Any]:
    return {**TREE, **changes}


def test_build_makes_a_closed_reachable_vocabulary(data: Path) -> None:
    recipe = build_recipe(TREE)
    corpus = count_corpus(recipe, data)
    merges, blocks = build_tokens(recipe, corpus, say=lambda _: None)
    check_tokens(merges)
    assert len(merges.tokens) == len(set(merges.tokens)) == 560
    assert [block["name"] for block in blocks] == ["bytes", "characters", "words"]
    assert sum(block["tokens"] for block in blocks) == 560
    assert not find_unreachable(merges.tokens, PATTERNS[QWEN_PATTERN])
    assert max(map(len, merges.tokens)) <= 12
    assert not any(len(token) > 1 and token.strip().isdigit() for token in merges.tokens)
    counts = sum(count_characters(part) for counted in corpus.counted[:2] for part in counted.parts)
    for code in covering(np.asarray(counts), 0.9):
        assert chr(code).encode() in merges.tokens


def test_result_does_not_depend_on_the_order_of_sources_or_batches(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = build_recipe(TREE)
    before = built(recipe, data).tokens
    monkeypatch.setattr("tokenizer_build.build._BATCH", 1)
    monkeypatch.setattr("tokenizer_build.build._COUNTER_BYTES", 1)
    turned = build_recipe(changed(texts=TREE["texts"][::-1]))
    assert built(turned, data).tokens == before


def test_held_back_documents_are_not_seen(data: Path) -> None:
    recipe = build_recipe(TREE)
    read = list(read_documents(recipe.texts[0], data, 5))
    assert [i for i, document in enumerate(read) if document.held_back] == [4, 9, 14, 19, 24, 29]
    before = built(recipe, data).tokens
    records = [{"text": document.text, "source": document.source} for document in read]
    for i in (4, 9, 14, 19, 24, 29):
        records[i]["text"] = "钅钆" * 2000
    english = [json.loads(line) for line in (data / "en.jsonl").read_text().splitlines()]
    write(data, records, english)
    assert built(recipe, data).tokens == before


def test_few_documents_are_cut_so_that_some_are_held_back(tmp_path: Path) -> None:
    long = "".join(f"line {i} of a book\n" for i in range(5000))
    write(tmp_path, [], [{"text": long, "source": "x"}])
    read = list(read_documents(build_recipe(TREE).texts[1], tmp_path, 10))
    assert "".join(document.text for document in read) == long
    assert 2 <= sum(document.held_back for document in read) <= len(read) / 9


def test_command_writes_vocabulary_and_card(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    recipe = tmp_path / "tiny.toml"
    lines = [f"{key} = {json.dumps(TREE[key])}" for key in ("name", "ranks", "held_back", "baselines")]
    for table in ("texts", "blocks"):
        for entry in TREE[table]:
            lines.append(f"[[{table}]]")
            for key, value in entry.items():
                inline = (
                    "{" + ", ".join(f'"{k}" = {v}' for k, v in value.items()) + "}" if key == "shares" else ""
                )
                lines.append(f"{key} = {inline or json.dumps(value)}")
    recipe.write_text("\n".join(lines), "utf-8")
    assert main(["build", str(recipe), "--data", str(data), "--output", str(tmp_path / "out")]) == 0
    path = tmp_path / "out" / "tiny.tiktoken"
    card = json.loads((tmp_path / "out" / "tiny.card.json").read_text("utf-8"))
    assert card["sha256"] == load_ranks(path, sha256=None)[0].sha256 and card["n_ranks"] == 560
    assert {source["source"]: source["documents"] for source in card["sources"]} == {
        "a": 12,
        "b": 12,
        "x": 24,
    }
    assert card["held_back_compression"]["zh"]["relative_tokens"]["sluice-32k"] == 1.0
    assert [source["licences"] for source in card["sources"]] == [["not stated"], ["not stated"], ["CC0"]]
    assert card["base"]["vocabulary"] == "bytes" and build_recipe(card["recipe"]) == build_recipe(TREE)
    tokenizer = Tokenizer.load(path)
    text = "的一是，不了人 to 12"
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert "words: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rank": 5}, "unknown key rank; did you mean 'ranks'"),
        ({"ranks": 100}, "the 256 bytes alone are more"),
        ({"ranks": "many"}, "ranks must be int"),
        ({"held_back": 1}, "held_back is 1"),
        ({"pattern": "gpt2"}, "pattern is 'gpt2', not one of qwen, cl100k"),
        ({"texts": []}, "needs"),
        ({"blocks": [{"name": "a", "kind": "words", "shares": {"zh": 1}}]}, "blocks.a.kind is 'words'"),
        (
            {"blocks": [{"name": "a", "kind": "merges", "shares": {"zk": 1}}]},
            "shares is 'zk', not one of en, zh",
        ),
        ({"blocks": [{"name": "a", "kind": "merges", "shares": {"zh": -1}}]}, "shares.zh is -1"),
        ({"blocks": [{"name": "a", "kind": "merges", "shares": {"zh": 1.5}}]}, "shares.zh must be int"),
        ({"blocks": [{"name": "a", "kind": "merges"}]}, "missing key blocks.a.shares"),
        (
            {"blocks": [{"name": "a", "kind": "characters", "shares": {}, "charsets": ["gb"]}]},
            "no codec 'gb'",
        ),
        (
            {"blocks": [{"name": "a", "kind": "characters", "shares": {"zh": 1}, "coverage": 2}]},
            "coverage is 2",
        ),
        ({"blocks": [{"name": "a", "kind": "merges", "shares": {"zh": 1}, "tokens": -3}]}, "tokens is -3"),
    ],
)
def test_bad_recipes_name_the_key(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        build_recipe(changed(**changes))


def test_bad_text_is_told(data: Path) -> None:
    with pytest.raises(RecipeError, match="there is no file"):
        built(build_recipe(changed(texts=[*TREE["texts"], {"language": "de", "path": "de.jsonl"}])), data)
    with pytest.raises(RecipeError, match="no text 'zh/c'; zh has a, b"):
        block = {"name": "w", "kind": "merges", "shares": {"zh/c": 1}}
        built(build_recipe(changed(blocks=[block])), data)
    with pytest.raises(RecipeError, match="its text has"):
        block = {"name": "w", "kind": "merges", "shares": {"en": 1}, "tokens": 90_000}
        built(build_recipe(changed(ranks=100_000, blocks=[block])), data)
    (data / "en.jsonl").write_text('{"body": "x"}\n')
    with pytest.raises(RecipeError, match="line 1: no document with a text"):
        built(build_recipe(TREE), data)


def test_packaged_recipes_are_good() -> None:
    names = [path.stem for path in RECIPES.glob("*.toml")]
    assert {"sluice-152k", "bytes-32k"} <= set(names)
    for name in names:
        assert load_build_recipe(name).name == name
    with pytest.raises(RecipeError, match="did you mean 'sluice-152k'"):
        load_build_recipe("sluice-150k")


def test_digit_rule(tmp_path: Path) -> None:
    path = tmp_path / "start.tiktoken"
    write_ranks(path, [*byte_merges().tokens, b"12", b"ab", b"123", b"1a", b"12\n", b"abab"])
    with pytest.raises(RecipeError, match="is not made of two tokens"):
        start_merges(str(path), single_digits=True)
    write_ranks(path, [*byte_merges().tokens, b"12", b"ab", b"123", b"1a", b"abab"])
    assert start_merges(str(path), single_digits=True).tokens[256:] == [b"ab", b"1a", b"abab"]


def test_digit_rule_is_that_of_the_original() -> None:
    try:
        _, qwen = load_ranks(find_vocabulary("qwen"), sha256=None)
        start = start_merges("cl100k_base", single_digits=True)
    except FileNotFoundError as error:
        pytest.skip(str(error))
    assert len(start.tokens) == 99_156 and start.tokens == list(qwen)[:99_156]


def test_pruning_takes_what_is_used_in_one_part_only() -> None:
    tokens = [*byte_merges().tokens, b"ab", b"cd", b"abc", b"abcd", b"xy"]
    merges = split_tokens(tokens)
    usage = np.zeros((PARTS, len(tokens)), np.int64)
    usage[:, tokens.index(b"cd")] = 3
    usage[0, tokens.index(b"abcd")] = 1000  # one book's hero
    usage[:, tokens.index(b"xy")] = 1
    assert prune(merges, 256, 4, usage).tokens[256:] == [b"ab", b"cd", b"abc", b"xy"]
    # With it go its parts, whose uses it had: abc is used in that one book alone, then xy is least.
    assert prune(merges, 256, 2, usage).tokens[256:] == [b"cd", b"xy"]
    pruned = prune(merges, 256, 3, usage)
    assert pruned.pairs.tolist() == split_tokens(pruned.tokens).pairs.tolist()


def test_characters() -> None:
    counts = count_characters(as_pieces({"的一": 5, "一𠀀": 2, "x": 1}))
    assert (counts[ord("的")], counts[ord("一")], counts[0x20000], counts.sum()) == (5, 7, 2, 15)
    assert [chr(code) for code in covering(counts, 0.8)] == ["一", "的"]
    assert len(covering(counts, 1.0)) == 4 and len(covering(counts * 0, 0.5)) == 0
    chinese = charset_characters("gb2312")
    assert sum("\u4e00" <= character <= "\u9fff" for character in chinese) == 6763
    assert charset_characters("iso8859_8")[:2] == ["µ", "א"]


def test_unreachable_tokens() -> None:
    tokens = [
        "ab",
        " ab",
        "a b",
        "12",
        "é",
        "e\u0301",
        "ที่",
        "\n  ",
        "  \n",
        "'s",
        "'sa",
        "，的",
        "\u1e0b\u0323",
    ]
    found = find_unreachable([token.encode() for token in tokens] + [b"\xe4\xb8"], PATTERNS[QWEN_PATTERN])
    assert {each.token: each.reason for each in found} == {
        "a b": SPLIT, "12": SPLIT, "e\u0301": SPLIT, "ที่": SPLIT, "'sa": SPLIT, "\u1e0b\u0323": SPLIT,
    }  # fmt: skip
    assert find_unreachable(["\u212b".encode()], PATTERNS[QWEN_PATTERN])[0].reason == NOT_NFC
    assert not find_unreachable(["\u212b".encode()], PATTERNS[QWEN_PATTERN], nfc=False)


def test_the_original_has_1909_unreachable_tokens() -> None:
    try:
        _, ranks = load_ranks(find_vocabulary("qwen"), sha256=None)
    except FileNotFoundError as error:
        pytest.skip(str(error))
    reasons = [each.reason for each in find_unreachable(list(ranks), PATTERNS[QWEN_PATTERN])]
    assert (reasons.count(SPLIT), reasons.count(NOT_NFC)) == (1673, 236)
