"""`sluice train-lm`: what goes to lmplz, what the card says, what is refused. With lmplz itself if there."""

import gzip
import json
import shutil
import stat
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.annotate.arpa import open_model, read_header
from pipeline.annotate.perplexity import ModelFile, score_documents
from pipeline.cli import main
from pipeline.parts import file_sha256
from pipeline.report.run_folder import open_run
from pipeline.training_texts import kept_texts

# Stands in for lmplz: keeps what it was given, and gives back one model.
STUB = """#!/bin/sh
printf '%s\\n' "$@" > {folder}/arguments
cat > {folder}/tokens
while [ "$1" != --limit_vocab_file ]; do shift; done
cp "$2" {folder}/vocabulary
cat {folder}/model.arpa
"""
MODEL = """\\data\\
ngram 1=4

\\1-grams:
-1\t<unk>
-99\t<s>
-0.5\t</s>
-0.25\tgold

\\end\\
"""
TEXTS = ["Gold, gold!", "The gold\nstays", "水门", "a", "b", "c gold 77"]


@pytest.fixture
def lmplz(tmp_path: Path) -> Path:
    folder = tmp_path / "stub"
    folder.mkdir()
    (folder / "model.arpa").write_text(MODEL)
    script = folder / "lmplz"
    script.write_text(STUB.format(folder=folder))
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return script


def train(*options: str) -> int:
    return main(["train-lm", "--language", "en", *options])


def test_files_become_words_a_vocabulary_and_a_card(lmplz: Path, tmp_path: Path) -> None:
    records = tmp_path / "a.jsonl.gz"
    lines = [json.dumps({"text": text}) for text in TEXTS[:3]] + ["no json", '{"text": 3}', ""]
    records.write_bytes(gzip.compress("\n".join(lines).encode()))
    pq.write_table(pa.table({"text": [TEXTS[3], None]}), tmp_path / "b.parquet")
    (tmp_path / "c.txt").write_text(TEXTS[5])
    to = tmp_path / "made" / "en.lm"
    to.parent.mkdir()
    inputs = [f"--text={tmp_path}/{name}" for name in ("c.txt", "a.jsonl.gz", "b.parquet")]
    assert (
        train(f"--to={to}", f"--lmplz={lmplz}", "--words=3", "--order=2", "--prune", "0", "1", *inputs) == 0
    )

    tokens = (lmplz.parent / "tokens").read_text()
    assert tokens == "gold , gold !\nthe gold\nstays\n水 门\na\nc gold 00\n"
    assert (lmplz.parent / "vocabulary").read_text() == "gold\n!\n,\n"  # most frequent, then by their bytes
    arguments = (lmplz.parent / "arguments").read_text().splitlines()
    assert arguments[:2] == ["-o", "2"] and arguments[-3:] == ["--prune", "0", "1"]
    card = json.loads(to.with_suffix(".json").read_text())
    assert [source["file"] for source in card["made_of"]] == ["a.jsonl.gz", "b.parquet", "c.txt"]
    assert card["made_of"][0]["sha256"] == file_sha256(records)
    assert (card["documents"], card["words"], card["unusable_records"]) == (5, 13, 3)
    assert card["settings"] == {"order": 2, "prune": [0, 1], "words": 3}
    assert card["sha256"] == file_sha256(to) and read_header(to).ngrams == (4,)
    assert not [
        path for path in to.parent.iterdir() if path.suffix not in (".lm", ".json")
    ]  # no scratch left


def test_the_kept_text_of_a_run(lmplz: Path, small_run: Path, tmp_path: Path) -> None:
    to = tmp_path / "en.lm"
    assert train(f"--to={to}", f"--lmplz={lmplz}", f"--run={small_run}") == 0
    card, manifest = (
        json.loads(p.read_text()) for p in (to.with_suffix(".json"), small_run / "MANIFEST.json")
    )
    assert card["made_of"][0]["content_digest"] == manifest["content_digest"]
    kept = list(kept_texts(open_run(str(small_run)), "en"))
    assert card["documents"] + card["held_out"]["documents"] == len(kept) > 10
    assert not any("的" in text for text in kept) and "@" not in " ".join(kept)  # edits are applied


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ((), "nothing to train on"),
        (("--text=nowhere.jsonl",), "matches no file"),
        (("--text=x", "--lmplz=/nowhere/lmplz"), "cmake -S kenlm-* -B kenlm-build"),
        (("--text=x", "--order=7"), "--order 7"),
        (("--text=x", "--prune", "3", "1"), "none below the one before"),
        (("--text=x", "--words=0"), "--words 0"),
        (("--text=x", "--lmplz=false"), "lmplz failed"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(
    options: tuple[str, ...],
    says: str,
    lmplz: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "500")
    Path("x").write_text("some words to train on")
    chosen = () if any("lmplz" in option for option in options) else (f"--lmplz={lmplz}",)
    assert train("--to=en.lm", *chosen, *options) == 2
    assert says in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["stub", "x"]


def test_an_arpa_file_of_another_tool(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arpa = tmp_path / "other.arpa"
    arpa.write_text(MODEL)
    assert train(f"--to={tmp_path}/other.lm", f"--arpa={arpa}") == 0
    assert read_header(tmp_path / "other.lm").language == "en"
    arpa.write_text(MODEL.replace("-0.25", "often"))
    assert train(f"--to={tmp_path}/other.lm", f"--arpa={arpa}") == 2
    assert "not understood" in capsys.readouterr().out


@pytest.mark.skipif(shutil.which("lmplz") is None, reason="KenLM's lmplz is not on the PATH")
def test_lmplz_gives_the_same_model_with_other_memory(small_run: Path, tmp_path: Path) -> None:
    made = []
    for memory in ("200M", "500M"):
        to = tmp_path / f"{memory}.lm"
        options = (f"--run={small_run}", "--words=2000", "--order=3", f"--memory={memory}", "--prune", "0")
        assert train(f"--to={to}", *options) == 0
        made.append(file_sha256(to))
    assert made[0] == made[1]
    model = ModelFile(tmp_path / "200M.lm", made[0])
    assert open_model(model.path, made[0]).order == 3
    texts = pa.array(["the water of the river", "water of river the the"])
    cost, tokens = score_documents(texts, pa.array(["en"] * 2), {"en": model})
    assert tokens.to_pylist() == [6, 6] and cost[0].as_py() < cost[1].as_py()
