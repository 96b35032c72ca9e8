"""Generation: `python tests/benchmarks/generate.py [--preset 0.3b] [--json] [--quick]`

Tokens per second of our generate against `generate` of transformers (static and dynamic cache), with the same
random weights, through our export: greedy, fp32, on the CPU with one thread, CPU time of the process, best of
several runs that take turns. The tokens of both must be the same.

Two shapes: one prompt of 128 tokens, and eight prompts of 32 to 128 tokens, padded on the left for
transformers. Each is continued by 64 tokens; prefill is measured apart, by a run that stops after the first.
"""

import argparse
import gc
import json
import platform
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor

ROOT = Path(__file__).resolve().parents[2]
sys.path[0] = str(ROOT)  # not this folder: its names are those of packages

from model.config import preset  # noqa: E402
from model.generate import generate  # noqa: E402
from model.transformer import Transformer, build  # noqa: E402
from model.weights import load_checkpoint, save_checkpoint  # noqa: E402

NEW_TOKENS = 64
SHAPES = {"one row": [128], "eight rows": [128, 32, 50, 64, 77, 90, 100, 111]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="0.3b")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="the tiny preset, two runs")
    parser.add_argument("--json", action="store_true", help="end with one JSON line")
    arguments = parser.parse_args()
    name, runs = ("tiny", 2) if arguments.quick else (arguments.preset, arguments.runs)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    ours, theirs = both_models(name)
    print(f"{name}, {ours.config.parameters:,} parameters, fp32, one thread of {processor()}")
    print(
        f"torch {torch.__version__}, transformers {transformers.__version__}; CPU time, best of {runs} runs"
    )
    print(f"{'':12}{'':10}{'ours':>10}{'static':>10}{'dynamic':>10}{'ratio':>8}   tokens/s")
    figures: dict[str, Any] = {"preset": name, "device": processor()}
    for shape, lengths in SHAPES.items():
        figures[shape.replace(" ", "_")] = compare(ours, theirs, shape, lengths, runs)
    if arguments.json:
        print(json.dumps(figures))


def both_models(name: str) -> tuple[Transformer, Any]:
    """Ours with random weights, and transformers' with the same."""
    model = build(preset(name))
    model.init_weights(0)
    with tempfile.TemporaryDirectory() as folder:
        save_checkpoint(model.state_dict(), model.config, Path(folder, "export"), layout="qwen2")
        del model
        gc.collect()
        theirs = transformers.AutoModelForCausalLM.from_pretrained(
            Path(folder, "export"), dtype=torch.float32
        )
        ours = load_checkpoint(Path(folder, "export"))
    return ours, theirs.eval()


def compare(ours: Transformer, theirs: Any, shape: str, lengths: list[int], runs: int) -> dict[str, float]:
    """Prints one shape's two lines; tokens per second of new tokens, prefill taken off."""
    generator = torch.Generator().manual_seed(1)
    prompts = [torch.randint(1, 1000, (n,), generator=generator).tolist() for n in lengths]

    def we(new: int) -> list[list[int]]:
        return [list(row.ids) for row in generate(ours, prompts, max_new_tokens=new)]

    def they(cache: str) -> Callable[[int], list[list[int]]]:
        ids, mask = padded(prompts)

        def run(new: int) -> list[list[int]]:
            settings = {
                "do_sample": False,
                "eos_token_id": None,
                "pad_token_id": 0,
                "cache_implementation": cache,
            }
            rows = theirs.generate(
                ids, attention_mask=mask, max_new_tokens=new, disable_compile=True, **settings
            )
            return rows[:, ids.shape[1] :].tolist()

        return run

    ways = {"ours": we, "static": they("static"), "dynamic": they("dynamic")}
    tokens = {way: run(NEW_TOKENS) for way, run in ways.items()}  # also the warm-up
    same = sum(a == b for a, b in zip(tokens["ours"], tokens["dynamic"], strict=True))
    first, whole = dict.fromkeys(ways, float("inf")), dict.fromkeys(ways, float("inf"))
    for _ in range(runs):
        for way, run in ways.items():
            first[way] = min(first[way], seconds(run, 1))
            whole[way] = min(whole[way], seconds(run, NEW_TOKENS))
    prefill = {way: sum(lengths) / first[way] for way in ways}
    decode = {way: (NEW_TOKENS - 1) * len(lengths) / (whole[way] - first[way]) for way in ways}
    for kind, rates in (("prefill", prefill), ("decode", decode)):
        ratio = rates["ours"] / max(rates["static"], rates["dynamic"])
        columns = "".join(f"{rates[way]:>10,.1f}" for way in ways)
        print(f"{shape:12}{kind:10}{columns}{ratio:>8.2f}")
    print(f"{'':12}equal rows of tokens: {same} of {len(lengths)}")
    best = max(decode["static"], decode["dynamic"])
    return {
        "prefill_tokens_per_s": round(prefill["ours"], 1),
        "decode_tokens_per_s": round(decode["ours"], 1),
        "prefill_vs_transformers": round(prefill["ours"] / max(prefill["static"], prefill["dynamic"]), 3),
        "decode_vs_transformers": round(decode["ours"] / best, 3),
        "equal_rows": same / len(lengths),
    }


def padded(prompts: list[list[int]]) -> tuple[Tensor, Tensor]:
    longest = max(map(len, prompts))
    ids = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    return ids, mask


def seconds(run: Callable[[int], object], new: int) -> float:
    start = time.process_time()
    run(new)
    return time.process_time() - start


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
