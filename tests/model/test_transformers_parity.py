"""The same weights in Hugging Face's Qwen2: logits, greedy tokens, files. Biases and norms are random too."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from model.config import ModelConfig
from model.generate import generate
from model.sampling import Sampling, truncated
from model.transformer import Transformer
from model.weights import load_checkpoint, save_checkpoint

transformers = pytest.importorskip("transformers", reason="transformers is in the dev extra")

Config = Callable[..., ModelConfig]
Model = Callable[..., Transformer]

# transformers leaves its JSON files to the garbage collector.
pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning"
)


@pytest.mark.parametrize(("n_kv_heads", "rope_base"), [(4, 1e4), (2, 1e6)])
def test_our_export_loads_without_remote_code_and_agrees(
    tmp_path: Path, random_model: Model, small_config: Config, n_kv_heads: int, rope_base: float
) -> None:
    config = small_config(n_kv_heads=n_kv_heads, rope_base=rope_base, train_length=64, norm_eps=1e-5)
    model = random_model(config, seed=3)
    save_checkpoint(
        model.state_dict(), config, tmp_path / "export", layout="qwen2", shard_bytes=80_000, eos=127
    )
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "export", dtype="auto")
    assert type(theirs).__name__ == "Qwen2ForCausalLM" and theirs.dtype == torch.float32
    assert theirs.config.eos_token_id == 127
    ids = torch.randint(128, (2, 64), generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        ours = model(ids)
        torch.testing.assert_close(ours, theirs(ids).logits, atol=1e-5, rtol=0)
    assert ours.abs().max() > 1
    prompts = [[5, 6, 7, 8], [100, 2, 30, 4]]
    tokens = theirs.generate(torch.tensor(prompts), max_new_tokens=20, do_sample=False, eos_token_id=None)
    assert [list(row.ids) for row in generate(model, prompts, max_new_tokens=20)] == tokens[:, 4:].tolist()


@pytest.mark.parametrize("tied", [False, True])
def test_their_files_load_and_come_back_byte_by_byte(tmp_path: Path, tied: bool) -> None:
    shape = transformers.Qwen2Config(
        vocab_size=128,
        hidden_size=64,
        intermediate_size=176,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        tie_word_embeddings=tied,
    )
    torch.manual_seed(0)
    theirs = transformers.Qwen2ForCausalLM(shape).to(torch.bfloat16).eval()
    for parameter in theirs.parameters():
        parameter.data.normal_(0.5, 0.1)
    theirs.save_pretrained(tmp_path / "theirs")
    digests = {path.name: _sha256(path) for path in (tmp_path / "theirs").iterdir()}
    model = load_checkpoint(tmp_path / "theirs", sha256=digests)
    ids = torch.arange(40)[None]
    wide = load_checkpoint(tmp_path / "theirs", sha256=digests, dtype=torch.float32)
    with torch.no_grad():
        torch.testing.assert_close(wide(ids), theirs.float()(ids).logits, atol=1e-5, rtol=1e-6)
    if not tied:
        save_checkpoint(model.state_dict(), model.config, tmp_path / "ours", layout="qwen2")
        assert _sha256(tmp_path / "ours/model.safetensors") == digests["model.safetensors"]


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(("top_k", "top_p"), [(5, 1.0), (0, 0.7), (20, 0.5)])
def test_truncation_keeps_the_tokens_that_theirs_keeps(top_k: int, top_p: float) -> None:
    logits = torch.randn(16, 1000, generator=torch.Generator().manual_seed(1)) * 3
    scores = logits
    if top_k:
        scores = transformers.TopKLogitsWarper(top_k)(None, scores)
    if top_p < 1:
        scores = transformers.TopPLogitsWarper(top_p)(None, scores)
    assert torch.equal(truncated(logits, top_k, top_p) > 0, scores > -torch.inf)


def test_repetition_penalty_is_theirs(random_model: Model, small_config: Config, tmp_path: Path) -> None:
    model = random_model(small_config(train_length=64), seed=5)
    save_checkpoint(model.state_dict(), model.config, tmp_path / "export", layout="qwen2")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "export", dtype="auto")
    tokens = theirs.generate(
        torch.tensor([[1, 2, 3]]),
        max_new_tokens=30,
        do_sample=False,
        repetition_penalty=1.4,
        eos_token_id=None,
    )
    ours = generate(model, [[1, 2, 3]], max_new_tokens=30, sampling=Sampling(repetition_penalty=1.4))
    assert list(ours[0].ids) == tokens[0, 3:].tolist()
