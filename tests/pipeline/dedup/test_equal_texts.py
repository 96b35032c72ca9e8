"""Documents whose folded texts are equal although their shingles are not: each still finds its own likes."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from rich.console import Console

from pipeline.recipe_file import recipe_from_tree
from pipeline.run import RunOptions, run


def test_none_stands_for_another_whose_bands_differ(tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    letters = "".join(chr(97 + n) for n in rng.integers(0, 26, 2_000))
    spaced = " ".join(letters)
    solid = " ".join(letters[at : at + 7] for at in range(0, len(letters), 7))
    like_solid = solid[:1_990] + "zz zz" + solid[1_990:]  # nothing like `spaced`, nor equal to either
    texts = [
        spaced,
        solid,
        like_solid,
        "ab cd ef gh",
        "ab...cd...ef...gh...",
        "something else, of some length",
    ]
    lines = [json.dumps({"id": str(number), "text": text}) for number, text in enumerate(texts)]
    (tmp_path / "texts.jsonl").write_text("\n".join(lines) + "\n")
    source = {"name": "texts", "kind": "web", "paths": [f"{tmp_path}/texts.jsonl"], "format": "jsonl"}
    recipe = recipe_from_tree(
        {"name": "equal", "sources": [source], "minhash": {"unit": "characters", "shingle": 13}}
    )
    assert run(recipe, RunOptions(str(tmp_path / "out"), 1), Console(quiet=True)) == 0  # and it balances
    (file,) = (tmp_path / "out" / "clusters").glob("*.parquet")
    assert pq.read_table(file)["cluster"].to_pylist() == [0, 0, 0, 3, 3, 5]
