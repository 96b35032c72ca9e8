"""Weights as files: the same bytes back, and nothing but what the shape asks for."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from model.config import ModelConfig, preset
from model.layouts import Layout, from_json, stored_names, to_json
from model.transformer import Transformer
from model.weights import load_checkpoint, open_checkpoint, save_checkpoint

Config = Callable[..., ModelConfig]
Model = Callable[..., Transformer]


def sums(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def same(a: Transformer, b: Transformer) -> bool:
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


@pytest.mark.parametrize("layout", ["qwen", "qwen2"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shard_bytes", [20_000, 10**9])
def test_a_round_trip_gives_the_same_bytes(
    tmp_path: Path,
    random_model: Model,
    small_config: Config,
    layout: Layout,
    dtype: torch.dtype,
    shard_bytes: int,
) -> None:
    model = random_model(small_config(n_kv_heads=2 if layout == "qwen2" else 4)).to(dtype)
    for name in ("first", "second"):
        save_checkpoint(
            model.state_dict(), model.config, tmp_path / name, layout=layout, shard_bytes=shard_bytes, eos=127
        )
        loaded = load_checkpoint(tmp_path / name)
        assert same(model, loaded) and not loaded.training
        assert {p.dtype for p in loaded.parameters()} == {dtype}
        model = loaded
    assert sums(tmp_path / "first") == sums(tmp_path / "second")
    files = sorted(path.name for path in (tmp_path / "first").glob("*.safetensors"))
    assert (files == ["model.safetensors"]) == (shard_bytes == 10**9)
    if len(files) > 1:
        assert files[0] == f"model-00001-of-{len(files):05}.safetensors"
        index = json.loads((tmp_path / "first" / "model.safetensors.index.json").read_text())
        assert index["metadata"]["total_size"] == model.config.parameters * dtype.itemsize
        assert all((tmp_path / "first" / file).stat().st_size < 70_000 for file in files)


def test_layouts_turn_into_each_other(tmp_path: Path, random_model: Model, small_config: Config) -> None:
    model = random_model(small_config())
    save_checkpoint(model.state_dict(), model.config, tmp_path / "a", layout="qwen")
    stored = open_checkpoint(tmp_path / "a")
    assert stored.config == model.config and list(stored) == list(model.state_dict())
    save_checkpoint(stored, stored.config, tmp_path / "b", layout="qwen2")  # without a model
    other = load_checkpoint(tmp_path / "b")
    assert not other.config.dynamic_ntk and other.config.train_length == 16
    save_checkpoint(other.state_dict(), model.config, tmp_path / "c", layout="qwen")
    assert sums(tmp_path / "a") == sums(tmp_path / "c")


def test_names_are_the_official_ones(cases: dict[str, Any], small_config: Config) -> None:
    shapes = cases["model_golden"]["shapes"]
    names = {
        name: list(shape) for parts in stored_names("qwen", small_config()).values() for name, shape in parts
    }
    assert names == shapes
    for name, size in cases["official_total_size_bytes"].items():
        parts = [shape for parts in stored_names("qwen", preset(name.lower())).values() for _, shape in parts]
        assert 2 * sum(torch.Size(shape).numel() for shape in parts) == size


def test_config_json_round_trips(small_config: Config, cases: dict[str, Any]) -> None:
    config = small_config(
        windows=(16, 32, 64), window_alpha="layer", logn=False, rope_base=1e6, norm_eps=1e-5
    )
    assert from_json(to_json("qwen", config, "bfloat16", None)) == ("qwen", config)
    golden = {
        **cases["model_golden"]["config"],
        "model_type": "qwen",
        "use_dynamic_ntk": True,
        "use_logn_attn": True,
    }
    assert from_json(golden) == ("qwen", small_config())
    old = {
        "n_embd": 64,
        "n_head": 4,
        "n_layer": 3,
        "n_positions": 64,
        "ffn_hidden_size": 352,
        "seq_length": 16,
    }
    old |= {"padded_vocab_size": 128, "vocab_size": 100, "layer_norm_epsilon": 1e-6, "model_type": "qwen"}
    assert from_json(old) == ("qwen", small_config())
    grouped = small_config(n_kv_heads=1)
    assert from_json(to_json("qwen2", grouped, "float32", 5))[1].n_kv_heads == 1
    with pytest.raises(ValueError, match="grouped queries"):
        to_json("qwen", grouped, "float32", None)


@pytest.mark.parametrize(
    ("layout", "change", "message"),
    [
        ("qwen", {"model_type": "llama"}, "model_type 'llama'; known are qwen, qwen2"),
        ("qwen", {"no_bias": False}, "no_bias = False; only True"),
        ("qwen", {"tie_word_embeddings": True}, "tie_word_embeddings"),
        ("qwen2", {"hidden_act": "gelu"}, "hidden_act = 'gelu'; only 'silu'"),
        ("qwen2", {"use_sliding_window": True}, "use_sliding_window"),
        ("qwen2", {"rope_parameters": {"rope_type": "yarn"}}, "rope_type = 'yarn'"),
        ("qwen2", {"rope_scaling": {"type": "linear"}}, "rope_scaling"),
    ],
)
def test_models_of_another_kind_are_refused(
    small_config: Config, layout: Layout, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        from_json({**to_json(layout, small_config(), "float32", None), **change})
    content = to_json(layout, small_config(), "float32", None)
    del content["hidden_size"]
    with pytest.raises(ValueError, match="'hidden_size' is missing"):
        from_json(content)


def write_sums(folder: Path) -> None:
    (folder / "SHA256SUMS").unlink(missing_ok=True)
    lines = [f"{digest}  {name}\n" for name, digest in sums(folder).items()]
    (folder / "SHA256SUMS").write_text("".join(lines))


@pytest.fixture(name="single")
def single_fixture(tmp_path: Path, random_model: Model, small_config: Config) -> Path:
    model = random_model(small_config())
    save_checkpoint(model.state_dict(), model.config, tmp_path / "single", layout="qwen")
    return tmp_path / "single"


BIAS = "transformer.h.1.attn.c_attn.bias"


def test_tensors_must_be_exactly_those_of_the_shape(single: Path) -> None:
    path = single / "model.safetensors"
    good = load_file(path)
    changes: list[tuple[dict[str, Any], str]] = [
        ({BIAS: None}, f"{BIAS} is missing"),
        ({"transformer.h.3.ln_1.weight": torch.ones(64)}, "h.3.ln_1.weight is unknown"),
        ({BIAS: torch.ones(191)}, r"\[191\], config.json asks for \[192\]"),
        ({BIAS: torch.ones(192).double()}, "tensors are F32, F64"),
        ({BIAS: torch.ones(192).bfloat16()}, "tensors are BF16, F32"),
    ]
    for change, message in changes:
        changed = {name: tensor for name, tensor in {**good, **change}.items() if tensor is not None}
        save_file(changed, path)
        write_sums(single)
        with pytest.raises(ValueError, match=message):
            load_checkpoint(single)
    save_file({**good, "transformer.h.0.attn.rotary_emb.inv_freq": torch.ones(8)}, path)
    write_sums(single)
    load_checkpoint(single)  # a constant that old files carry


def test_files_are_opened_by_their_sums_only(single: Path) -> None:
    digests = sums(single)
    path = single / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"model\.safetensors is not the file that its sha256"):
        open_checkpoint(single)
    content[-1] ^= 1
    path.write_bytes(content)
    (single / "SHA256SUMS").unlink()
    with pytest.raises(ValueError, match="weights are opened only by known sums"):
        open_checkpoint(single)
    open_checkpoint(single, sha256=digests)
    with pytest.raises(ValueError, match=r"no sha256 is known for model\.safetensors"):
        open_checkpoint(single, sha256={"config.json": digests["config.json"]})
    (single / "SHA256SUMS").write_text("abc model.safetensors\n")
    with pytest.raises(ValueError, match="sha256sum"):
        open_checkpoint(single)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lm_head.weight": "model-00001-of-00009.safetensors"}, "lm_head.weight is in model-"),
        ({"lm_head.bias": "model-00001-of-00009.safetensors"}, "lm_head.bias is not in"),
        ({"lm_head.weight": "../model.safetensors"}, "leads out of the folder"),
    ],
)
def test_an_index_must_tell_the_truth(
    tmp_path: Path, random_model: Model, small_config: Config, change: dict[str, str], message: str
) -> None:
    model = random_model(small_config())
    folder = tmp_path / "sharded"
    save_checkpoint(model.state_dict(), model.config, folder, layout="qwen", shard_bytes=80_000)
    files = sorted(path.name for path in folder.glob("*.safetensors"))
    change = {name: files[0] if "00009" in file else file for name, file in change.items()}
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    index["weight_map"] |= change
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    write_sums(folder)
    with pytest.raises(ValueError, match=message):
        open_checkpoint(folder)


def test_what_is_saved_is_the_model_and_nothing_else(
    tmp_path: Path, random_model: Model, small_config: Config
) -> None:
    model = random_model(small_config())
    state = dict(model.state_dict())
    for change, message in (
        ({"norm.weight": None}, "norm.weight is missing"),
        ({"extra": torch.ones(1)}, "extra is unknown"),
        ({"norm.weight": torch.ones(63)}, r"norm.weight is \[63\]"),
    ):
        changed = {name: tensor for name, tensor in {**state, **change}.items() if tensor is not None}
        with pytest.raises(ValueError, match=message):
            save_checkpoint(changed, model.config, tmp_path / "bad", layout="qwen")
    with pytest.raises(ValueError, match=r"float64: must be one of"):
        save_checkpoint(state, model.config, tmp_path / "bad", layout="qwen", dtype=torch.float64)
    assert not list(tmp_path.iterdir())
    save_checkpoint(state, model.config, tmp_path / "good", layout="qwen")
    with pytest.raises(FileExistsError):
        save_checkpoint(state, model.config, tmp_path / "good", layout="qwen")
