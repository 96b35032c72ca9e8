"""What a run tells of itself: one JSON line per interval, TensorBoard if asked, a table on the console.

Model FLOPs utilisation has one formula here, and a named peak (both stand in the first line of the file):

    mfu = tokens/s * (6 * M + 12 * layers * heads * head_dim * T) / peak

M are the weights that multiply (blocks and head; no embedding, bias or norm), T the tokens of a row: PaLM's
count (arXiv 2204.02311, appendix B), which takes attention as if it were not causal. `mfu_causal` halves that
term, as kernels that skip the masked half do. Recomputation does not count, and an unknown device has no MFU:
a wrong peak has made 164 % of others' runs.
"""

import json
import resource
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.config import ModelConfig

# Dense bf16 TFLOP/s with fp32 sums, without sparsity, from the vendor's data sheets. The first match counts.
PEAKS = {
    "B200": 2250.0,
    "GH200": 989.0,
    "H200": 989.0,
    "H100 PCIe": 756.0,
    "H100 NVL": 835.0,
    "H100": 989.0,
    "A100": 312.0,
    "L40S": 362.0,
    "L4": 121.0,
    "RTX 4090": 165.2,
}


class NonFiniteError(RuntimeError):
    """A loss or gradient that is no number: the update of `step` (counted from 1), which was left out."""

    def __init__(self, step: int, loss: float, norm: float) -> None:
        super().__init__(f"step {step}: loss {loss}, gradient norm {norm}")
        self.step = step


def peak_flops(device: str) -> float:
    """bf16 FLOP/s of a device by its name; LookupError for one that is not known, never a guess."""
    for name, tflops in PEAKS.items():
        if name in device:
            return tflops * 1e12
    known = "" if device == "cpu" else f" (only {', '.join(PEAKS)})"
    raise LookupError(f"no peak is known for {device!r}{known}: log.peak_tflops gives it")


def flops_per_token(config: ModelConfig, tokens: int) -> tuple[float, float]:
    """FLOPs of forward and backward pass per token in rows of `tokens`: (PaLM's count, causal count)."""
    heads, kv = config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim
    block = config.dim * (2 * heads + 2 * kv) + 3 * config.dim * config.hidden
    matrices = 6.0 * (config.n_layers * block + config.n_vocab * config.dim)
    attention = 12.0 * config.n_layers * heads * tokens
    return matrices + attention, matrices + attention / 2


def device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


class Recorder:
    """Collects what steps leave on the device, and writes one line per interval after one copy to the host.

    Only rank 0 writes. After a resume the file goes on: of two lines with the same step the last one counts.
    """

    def __init__(
        self,
        folder: Path,
        model: ModelConfig,
        row_tokens: int,
        device: torch.device,
        *,
        ranks: int,
        writes: bool,
    ) -> None:
        self.folder, self.device, self.ranks, self.writes = folder, device, ranks, writes
        self.flops = flops_per_token(model, row_tokens)
        self.peak = 0.0
        self.board: Any = None
        self._pending: list[tuple[int, Tensor]] = []
        self._start, self._waited, self._tokens = time.perf_counter(), 0.0, 0

    def open(self, *, peak_tflops: float, tensorboard: bool) -> str:
        """Starts the file with what does not change; returns why there is no MFU, or nothing."""
        name, why = device_name(self.device), ""
        try:
            self.peak = peak_tflops * 1e12 or peak_flops(name)
        except LookupError as error:
            why = str(error)
        formula = "tokens_per_s * (6 * matrix_weights + 12 * layers * heads * head_dim * T) / peak"
        told = {"device": name, "ranks": self.ranks, "peak_flops": self.peak or None, "mfu": formula}
        self._write({**told, "flops_per_token": self.flops[0], "torch": torch.__version__})
        if tensorboard and self.writes:
            from torch.utils.tensorboard import SummaryWriter

            self.board = SummaryWriter(str(self.folder / "tensorboard"))
        return why

    def add(
        self, step: int, loss: Tensor, norm: Tensor, skipped: Tensor, *, tokens: int, waited: float
    ) -> None:
        """One update: global mean loss, gradient norm and whether it was left out, all on the device."""
        self._pending.append((step, torch.stack([loss, norm.to(loss), skipped])))
        self._tokens += tokens
        self._waited += waited

    def flush(self, rate: float) -> dict[str, Any] | None:
        """Writes the interval since the last flush and returns it; NonFiniteError for its first bad step."""
        if not self._pending:
            return None
        values = torch.stack([value for _, value in self._pending]).tolist()
        steps = [step for step, _ in self._pending]
        seconds = time.perf_counter() - self._start
        bad = [n for n, (loss, norm, _) in enumerate(values) if not abs(loss) + abs(norm) < float("inf")]
        if bad:
            raise NonFiniteError(steps[bad[0]], *values[bad[0]][:2])
        speed = self._tokens / seconds
        peak = self.peak * self.ranks
        told = {
            "step": steps[-1],
            "loss": sum(value[0] for value in values) / len(values),
            "losses": [value[0] for value in values],
            "grad_norm": values[-1][1],
            "skipped": [step for step, value in zip(steps, values, strict=True) if value[2]],
            "lr": rate,
            "tokens_per_s": round(speed, 1),
            "mfu": round(speed * self.flops[0] / peak, 4) if peak else None,
            "mfu_causal": round(speed * self.flops[1] / peak, 4) if peak else None,
            "peak_gib": round(peak_memory(self.device) / 2**30, 3),
            "data_wait": round(self._waited / seconds, 4),  # share of the time
            "seconds": round(seconds, 3),
        }
        self._write(told)
        self._pending.clear()
        self.restart_clock()
        return told

    def restart_clock(self) -> None:
        """Leaves what was done since the last flush (validation, a start) out of the speed."""
        self._start, self._waited, self._tokens = time.perf_counter(), 0.0, 0

    def note(self, **told: Any) -> None:
        """A line of its own, for example a validation."""
        self._write(told)

    def _write(self, told: dict[str, Any]) -> None:
        if not self.writes:
            return
        with (self.folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(told) + "\n")
        if self.board is not None and "step" in told:
            for key, value in told.items():
                if key != "step" and isinstance(value, int | float):
                    self.board.add_scalar(key, value, told["step"])
            self.board.flush()


def peak_memory(device: torch.device) -> int:
    """Bytes: the most that tensors have held on a GPU, or that this process has held in memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run in order of steps; of two with the same step and kind the later one."""
    latest: dict[tuple[int, bool], dict[str, Any]] = {}
    for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
        told = json.loads(line)
        if "step" in told:
            latest[told["step"], "loss" in told] = told
    return [latest[key] for key in sorted(latest)]
