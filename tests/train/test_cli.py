"""`sluice-train` from the outside: train, complete, trace, draw, export; the formula of MFU."""

import base64
import json
import math
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

from model.config import PRESETS
from model.weights import load_checkpoint
from tokenizer_build.vocabulary import load_ranks
from train.cli import main, printable
from train.metrics import flops_per_token, peak_flops
from train.plot import ticks
from train.restore import find_checkpoint, load_model
from train.validation import token_bytes

WriteRun = Callable[..., Path]

SETTINGS = [
    *("model.dim=32", "model.n_layers=1", "model.n_heads=2", "model.head_dim=16", "model.hidden=48"),
    *("model.n_kv_heads=2", "batch.tokens=256", "batch.micro_rows=4", "schedule.steps=4", "log.every=2"),
    *("parallel.device=cpu", "log.validate_every=2"),
]


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """256 bytes and nothing else; ids of the test shards are below 256."""
    path = tmp_path_factory.mktemp("vocabulary") / "bytes.tiktoken"
    lines = [f"{base64.b64encode(bytes([byte])).decode()} {byte}" for byte in range(256)]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def trained(write_run: WriteRun, vocabulary: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four steps by the command, with a vocabulary file. Read only."""
    sha256 = load_ranks(vocabulary, sha256=None)[0].sha256
    source = write_run(tmp_path_factory.mktemp("data") / "out", sha256=sha256)
    output = tmp_path_factory.mktemp("trained") / "run"
    output.mkdir()
    settings = [*SETTINGS, f"data.vocabulary={vocabulary}"]
    arguments = ["pretrain", "quickstart", "--data", str(source), "--output", str(output), "--skip", "5:9"]
    assert main([*arguments, *(part for setting in settings for part in ("--set", setting))]) == 0
    return output


def test_bits_per_byte(trained: Path, vocabulary: Path) -> None:
    """Every token of these shards but <|endoftext|> is one byte, so bits per byte are bits per token."""
    lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    bits = [line["bits_per_byte"] for line in lines if "bits_per_byte" in line]
    assert bits[0] == pytest.approx(8, abs=0.1)  # 256 ids in 384 rows of the embedding, nearly untrained
    assert bits[-1] < bits[0]
    lengths = token_bytes(vocabulary, 384)
    assert lengths[:256].tolist() == [1] * 256 and not lengths[256:].any()


def test_generate(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["generate", str(trained), "--prompt", "abc", "--prompt", "x", "--tokens", "5", "--seed", "3"]
    assert main(asked) == 0
    first = capsys.readouterr().out
    assert first.startswith("abc") and "\nx" in first
    assert main(asked) == 0
    assert capsys.readouterr().out == first
    assert main(["generate", str(trained), "--prompt", "a", "--step", "3"]) == 2
    assert "no complete checkpoint of step 3; there are: 4" in capsys.readouterr().err


def test_rows(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rows", str(trained), "--step", "1", "--json"]) == 0
    places = json.loads(capsys.readouterr().out)
    assert [place["sample"] for place in places] == [0, 1, 2, 3, 4, 9, 10, 11]  # 5:9 was skipped
    assert places[0]["name"].startswith("train-0000") and places[0]["pieces"][0]["row_start"] == 0
    assert main(["rows", str(trained), "--step", "1"]) == 0
    said = capsys.readouterr().out
    assert f"--row {places[0]['name']}" in said


def test_plot(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plot", str(trained), "--to", str(tmp_path / "c.svg")]) == 0
    tree = ElementTree.parse(tmp_path / "c.svg")
    texts = [element.text for element in tree.iter() if element.tag.endswith("text")]
    for title in ("loss, nats per token", "bits per byte on validation", "learning rate", "validation"):
        assert title in texts
    circles = [element for element in tree.iter() if element.tag.endswith("circle")]
    assert len(circles) == 2 * 3  # validation loss and bits per byte at steps 0, 2 and 4
    assert main(["plot", str(tmp_path)]) == 2
    assert "no metrics.jsonl" in capsys.readouterr().err


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (2.31, 10.4), (1e-5, 3e-4), (7.0, 7.0), (0, 120_000)])
def test_ticks_are_few_round_and_around(low: float, high: float) -> None:
    marks = ticks(low, high)
    assert marks[0] <= low and marks[-1] >= high and 2 <= len(marks) <= 8
    step = marks[1] - marks[0]
    assert round(step / 10 ** math.floor(math.log10(step) + 1e-9), 6) in (1, 2, 5)


def test_export_is_the_model(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The exported folder holds the run's weights, and gives the same logits when it is read back."""
    to = tmp_path / "weights"
    assert main(["export", str(trained), "--to", str(to), "--dtype", "float32"]) == 0
    ours, progress = load_model(find_checkpoint(trained))
    theirs = load_checkpoint(to)
    ids = torch.arange(20)[None]
    assert torch.equal(ours(ids), theirs(ids))
    assert progress.step == 4
    assert main(["export", str(trained), "--to", str(to)]) == 2  # it exists
    assert "exists" in capsys.readouterr().err


def test_errors_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pretrain", "quickstart", "--data", str(tmp_path), "--output", str(tmp_path / "o")]) == 2
    said = capsys.readouterr().err
    assert "give the output folder of a finished `sluice run`" in said and said.count("\n") == 1
    assert main(["pretrain", "quickstart", "--data", str(tmp_path)]) == 2
    assert "give --output" in capsys.readouterr().err
    assert printable("a\x1b[31mb\nc\u202ed") == "a�[31mb\nc�d"


def test_flops_and_peaks() -> None:
    """PaLM's count, with the figures of the presets, and peaks that are named or refused."""
    for name, expected in (("0.3b", 1.43e9), ("0.6b", 3.38e9), ("1.8b", 10.36e9), ("7b", 45.8e9)):
        assert flops_per_token(PRESETS[name], 2048)[0] == pytest.approx(expected, rel=5e-3)
    whole, causal = flops_per_token(PRESETS["1.8b"], 2048)
    assert whole - causal == 6 * 24 * 2048 * 2048
    assert peak_flops("NVIDIA H200") == 989e12
    assert peak_flops("NVIDIA A100-SXM4-80GB") == 312e12
    assert peak_flops("NVIDIA H100 PCIe") == 756e12
    with pytest.raises(LookupError, match=r"'NVIDIA X1' .*log\.peak_tflops"):
        peak_flops("NVIDIA X1")
