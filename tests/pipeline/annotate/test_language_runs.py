"""Runs in which documents are dropped for what their letters and paragraphs say, not for their label."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from rich.console import Console

from pipeline.recipe_file import recipe_from_tree
from pipeline.report.explain import explain_document
from pipeline.report.run_folder import open_run
from pipeline.run import RunOptions, run

ENGLISH = (
    "The water runs through the sluice, and the gold stays behind while the gravel goes with it.",
    "Nobody who has washed a pan of sand by hand would ever want to go back to doing it that way.",
    "In the evening the miners weigh what they have found, and most of them are not pleased with it.",
)
SIMPLIFIED = (
    "水流过去，黄金留下，砾石被冲走，什么都没有悄悄地丢失过。每个词都可以追溯到它的来源，这是我们的承诺。"
)
TRADITIONAL = (
    "水流過去，黃金留下，礫石被沖走，什麼都沒有悄悄地丟失過。每個詞都可以追溯到它的來源，這是我們的承諾。"
)
CANTONESE = "佢哋琴日嚟咗呢度，不過冇人喺屋企，所以佢哋嘅嘢都唔知放喺邊度好。你話畀我聽，咁樣做啱唔啱呀？"
JAPANESE = "水は水路を流れ、金はそこに残り、砂利は流されていきます。何もこっそりとは失われません。"
TEXTS = {
    "english": "\n\n".join(ENGLISH),
    "mixed": "\n\n".join([*ENGLISH, SIMPLIFIED, SIMPLIFIED[::-1]]),
    "simplified": SIMPLIFIED,
    "traditional": TRADITIONAL,
    "cantonese": CANTONESE,
    "japanese": JAPANESE,
}
LIMITS = {
    "min_paragraph_language_share": 0.8,
    "max_kana_share": 0.1,
    "max_traditional_share": 0.05,
    "max_cantonese_share": 0.03,
}


def test_rules_on_paragraphs_scripts_and_varieties(tmp_path: Path) -> None:
    file = tmp_path / "pages.jsonl"
    file.write_text("".join(json.dumps({"id": name, "text": text}) + "\n" for name, text in TEXTS.items()))
    tree: dict[str, Any] = {
        "name": "test",
        "sources": [{"name": "web", "kind": "web", "format": "jsonl", "paths": [str(file)]}],
        "annotate": {"paragraph_languages": True},
        "decide": {"thresholds": {"web": {"default": LIMITS}}},
    }
    output = tmp_path / "out"
    assert run(recipe_from_tree(tree), RunOptions(str(output), 1), Console(quiet=True)) == 0

    measures, decisions = (
        pq.read_table(next(output.glob(f"{name}/*.parquet"))).to_pylist()
        for name in ("measures", "decisions")
    )
    found = dict(zip(TEXTS, measures, strict=True))
    english = sum(map(len, ENGLISH))
    mixed = found["mixed"]
    assert mixed["language"] == "en" and mixed["paragraph_language_characters"] == english
    assert mixed["judged_paragraph_characters"] == english + 2 * len(SIMPLIFIED)
    assert [found[name]["traditional_characters"] for name in ("english", "simplified")] == [0, 0]
    assert found["simplified"]["simplified_characters"] == found["simplified"]["variety_characters"] > 9
    assert found["japanese"]["kana_characters"] * 2 > found["japanese"]["alphabetic_characters"]

    failing = {name: decision["failing"] for name, decision in zip(TEXTS, decisions, strict=True)}
    assert failing == {
        "english": [],
        "mixed": ["min_paragraph_language_share"],
        "simplified": [],
        "traditional": ["max_traditional_share"],
        "cantonese": ["max_traditional_share", "max_cantonese_share"],
        "japanese": ["max_kana_share"],
    }
    rules = explain_document(open_run(str(output)), 1)["rules"]  # part 0, row 1: the mixed one
    assert {
        "rule": "min_paragraph_language_share",
        "of": "paragraph_language_characters / judged_paragraph_characters",
        "value": [english, english + 2 * len(SIMPLIFIED)],
        "threshold": 0.8,
        "passes": False,
    } in rules
