"""Training speed, memory and MFU by preset, with what each choice is worth.

    python tests/benchmarks/train.py [--presets 0.3b,0.6b,1.8b] [--quick] [--json]

Every variant is a process of its own, so that its memory is its own, and takes one update when told to:
variants take turns, so that whatever else the machine does meets all of them. Times are the best of the
updates after a warm-up; tokens/s are of wall time, ratios of wall time on a GPU and of CPU time on a CPU,
where several processes share the cores. MFU as in train/metrics.py, none on a CPU.

    ours           what `sluice-train pretrain` does
    full_logits    the same, with cross-entropy on logits of all tokens
    no_compile     blocks as they are written (GPU)
    flash          FlashAttention-2 in place of cuDNN's kernel (GPU)
    hf             a plain loop around Hugging Face's Qwen2ForCausalLM of the same shape: its own loss,
                   clipping, torch's AdamW; bf16 autocast on a GPU, compiled as a whole

On a CPU: the tiny preset in fp32, uncompiled. All are fed random ids from memory; the loader has a benchmark
of its own. Costs 2 minutes on a CPU, some 6 on a GPU; --quick 40 seconds.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[2])  # not this folder: train.py is a package there

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from torch import Tensor  # noqa: E402
from torch.nn.attention import SDPBackend  # noqa: E402

import model.attention  # noqa: E402
from model.config import ModelConfig  # noqa: E402
from model.context import PackedDocuments  # noqa: E402
from model.transformer import Transformer  # noqa: E402
from train import config, loop  # noqa: E402
from train.metrics import device_name, flops_per_token, peak_flops, peak_memory  # noqa: E402
from train.optimizer import SpikeGuard, build_optimizer  # noqa: E402
from train.parallel import open_world, prepare  # noqa: E402

TOKENS = 2048  # of a row
# Rows per forward pass, and passes per update: what fits 139 GiB, in steps long enough to measure.
ROWS = {"tiny": (1, 1), "0.3b": (32, 2), "0.6b": (32, 2), "1.8b": (16, 2)}
N_VOCAB = {"cpu": 32_976, "cuda": 151_851}
VARIANTS = {
    "cpu": ("ours", "full_logits", "hf"),
    "cuda": ("ours", "full_logits", "no_compile", "flash", "hf"),
}


class FullLogits(loop.LanguageModel):
    """The objective with logits of all tokens, as most trainers have it."""

    def forward(
        self, ids: Tensor, targets: Tensor, documents: PackedDocuments | None, scale: float
    ) -> Tensor:
        logits = self.model(ids).float()
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum") * scale


def our_update(
    stack: ExitStack, variant: str, shape: ModelConfig, rows: int, passes: int
) -> Callable[[], Tensor]:
    """One update by the trainer's own functions; the loss."""
    cuda = torch.cuda.is_available()
    settings = config.Parallel(
        strategy="single",
        dtype="bfloat16" if cuda else "float32",
        compile=cuda and variant != "no_compile",
    )
    if variant == "flash":
        model.attention.KERNELS[:] = [SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]
    world = stack.enter_context(open_world(settings))
    kind = FullLogits if variant == "full_logits" else loop.LanguageModel
    with torch.device("meta"):
        objective = kind(Transformer(shape), config.Loss(chunk_tokens=8192 if cuda else 128))
    module = prepare(objective, objective.model, settings, world, seed=0)
    optimizer = build_optimizer(objective.model, config.Optimizer())
    guard = SpikeGuard(128, 6.0, world.device)
    ids = random_ids(shape, rows * passes)
    batch = loop.StepBatch(ids.int(), torch.full((len(ids),), TOKENS), None, valid=len(ids) * (TOKENS - 1))

    def update() -> Tensor:
        losses = loop.language_losses(module, batch, rows, settings, world)
        return loop.update(module, optimizer, guard, losses, world, rate=1e-4, clip=1.0)[0]

    return update


def hugging_face_update(shape: ModelConfig, rows: int, passes: int) -> Callable[[], Tensor]:
    """One update as tutorials write it: model(input_ids, labels), backward, clip, step."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    cuda = torch.cuda.is_available()
    device = torch.device("cuda" if cuda else "cpu")
    theirs: Any = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=shape.n_vocab,
            hidden_size=shape.dim,
            intermediate_size=shape.hidden,
            num_hidden_layers=shape.n_layers,
            num_attention_heads=shape.n_heads,
            num_key_value_heads=shape.n_kv_heads,
            max_position_embeddings=TOKENS,
            tie_word_embeddings=False,
            use_cache=False,
        )
    )
    theirs.to(device)
    assert sum(parameter.numel() for parameter in theirs.parameters()) == shape.parameters
    theirs.train()
    called: Any = torch.compile(theirs) if cuda else theirs
    optimizer = torch.optim.AdamW(
        theirs.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True
    )
    ids = random_ids(shape, rows * passes).to(device)

    def update() -> Tensor:
        total = torch.zeros((), device=device)
        for part in ids.split(rows):
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=cuda):
                loss = called(input_ids=part, labels=part).loss / passes
            loss.backward()
            total += loss.detach()
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return total

    return update


def random_ids(shape: ModelConfig, rows: int) -> Tensor:
    return torch.randint(0, shape.n_vocab - 128, (rows, TOKENS), generator=torch.Generator().manual_seed(0))


def child(preset: str, variant: str) -> None:
    """Takes one update per line of input, and answers with its wall time, CPU time, loss and peak memory."""
    torch.set_float32_matmul_precision("high")
    cuda = torch.cuda.is_available()
    shape = config.model_config(config.Model(preset), N_VOCAB["cuda" if cuda else "cpu"], TOKENS)
    rows, passes = ROWS[preset]
    device = torch.device("cuda" if cuda else "cpu")
    with ExitStack() as stack:
        if variant == "hf":
            update = hugging_face_update(shape, rows, passes)
        else:
            update = our_update(stack, variant, shape, rows, passes)
        for _ in sys.stdin:
            wall, used = time.perf_counter(), time.process_time()
            loss = update().item()  # waits for the device
            told = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - used, "loss": loss}
            told |= {"peak": peak_memory(device), "device": device_name(device)}
            print(json.dumps(told), flush=True)


def measure(preset: str, variants: tuple[str, ...], updates: int) -> dict[str, Any]:
    """Variants in turn; None for one that does not fit the device."""
    # As the command does it. Threads that spin would count their waiting as CPU time.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    processes = {
        variant: subprocess.Popen(
            [sys.executable, __file__, "--child", preset, variant],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if variant != "ours" else None,
            text=True,
        )
        for variant in (variants if not torch.cuda.is_available() else ())
    }
    told: dict[str, list[dict[str, Any]]] = {variant: [] for variant in variants}
    if not processes:  # a GPU's memory holds one at a time
        for variant in variants:
            text = "x\n" * (updates + 2)
            command = [sys.executable, __file__, "--child", preset, variant]
            done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
            told[variant] = [json.loads(line) for line in done.stdout.splitlines()][2:]
    for number in range(updates + 1 if processes else 0):
        for variant, process in processes.items():
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write("x\n")
            process.stdin.flush()
            line = process.stdout.readline()
            if number and line:
                told[variant].append(json.loads(line))
    for process in processes.values():
        process.communicate()
    rows, passes = ROWS[preset]
    tokens = rows * passes * TOKENS
    shape = config.model_config(config.Model(preset), N_VOCAB["cpu" if processes else "cuda"], TOKENS)
    found: dict[str, Any] = {}
    for variant, steps in told.items():
        if not steps:
            found[variant] = None
            continue
        seconds = min(step["wall"] for step in steps)
        try:
            mfu = round(
                tokens / seconds * flops_per_token(shape, TOKENS)[0] / peak_flops(steps[0]["device"]), 4
            )
        except LookupError:
            mfu = None
        found[variant] = {
            "tokens_per_s": round(tokens / seconds, 1),
            "cpu_seconds": round(min(step["cpu"] for step in steps), 3),
            "seconds": round(seconds, 4),
            "mfu": mfu,
            "peak_gib": round(max(step["peak"] for step in steps) / 2**30, 2),
            "device": steps[0]["device"],
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Training speed and memory by preset.")
    parser.add_argument("--presets", help="names with commas between (default: what the device bears)")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true", help="only the last line")
    parser.add_argument("--child", nargs=2, metavar=("PRESET", "VARIANT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        return child(*options.child)
    kind = "cuda" if torch.cuda.is_available() else "cpu"
    default = {"cpu": "tiny", "cuda": "0.3b" if options.quick else "0.3b,0.6b,1.8b"}[kind]
    variants = ("ours", "hf") if options.quick else VARIANTS[kind]
    told: dict[str, Any] = {}
    for preset in (options.presets or default).split(","):
        found = measure(preset, variants, 3 if options.quick else 8)
        ours, theirs = found["ours"], found["hf"]
        clock = "seconds" if kind == "cuda" else "cpu_seconds"
        ratio = round(theirs[clock] / ours[clock], 3) if ours and theirs else None
        best = {key: ours[key] for key in ("tokens_per_s", "mfu", "peak_gib", "device")} if ours else {}
        told[preset] = {**best, "vs_hf_loop": ratio, "variants": found}
        if not options.json:
            for variant, figures in found.items():
                print(f"{preset:6s} {variant:12s} {figures}")
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    sys.exit(main())
