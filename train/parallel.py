"""One rank or many: process groups, and the ways a module is compiled, recomputed, replicated and sharded.

The model knows nothing of this. Order matters: recomputation is put into a block before it is compiled, and a
block is compiled before it is sharded.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._C._distributed_c10d import HashStore
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import (
    FSDPModule,
    MixedPrecisionPolicy,
    fully_shard,
    register_fsdp_forward_method,
)
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from model.context import Context
from model.transformer import Transformer, initial_weight
from train.config import ConfigError, Parallel

TIMEOUT = timedelta(minutes=30)  # a checkpoint on a slow disk must not look like a dead rank


@dataclass(frozen=True)
class World:
    """This rank among all, and where it computes."""

    rank: int
    size: int
    device: torch.device
    host_group: dist.ProcessGroup  # CPU messages that no GPU queue delays

    def sum(self, value: Tensor) -> Tensor:
        """The sum over all ranks, in place."""
        if self.size > 1:
            dist.all_reduce(value)
        return value

    def any(self, flag: bool) -> bool:
        """Whether any rank says yes; does not touch the device."""
        if self.size == 1:
            return flag
        told = torch.tensor(int(flag))
        dist.all_reduce(told, op=dist.ReduceOp.MAX, group=self.host_group)
        return bool(told)

    def barrier(self) -> None:
        if self.size > 1:
            dist.barrier(group=self.host_group)


@contextmanager
def open_world(settings: Parallel) -> Iterator[World]:
    """The process group of `torchrun`, or of this process alone; gloo on the CPU and NCCL on GPUs."""
    wanted = settings.device
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ConfigError("parallel.device = 'cuda', but torch finds no GPU here")
    cuda = wanted == "cuda" or (wanted == "auto" and torch.cuda.is_available())
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    backend = "cpu:gloo,cuda:nccl" if cuda else "gloo"
    if "RANK" in os.environ:
        dist.init_process_group(backend, timeout=TIMEOUT)
    else:
        dist.init_process_group(backend, store=HashStore(), rank=0, world_size=1, timeout=TIMEOUT)
    try:
        size = dist.get_world_size()
        if settings.strategy == "single" and size > 1:
            raise ConfigError(f"parallel.strategy = 'single' on {size} ranks: take 'ddp' or 'fsdp'")
        host_group = dist.new_group(backend="gloo")
        assert isinstance(host_group, dist.ProcessGroup)
        yield World(dist.get_rank(), size, device, host_group)
    finally:
        dist.destroy_process_group()


def prepare(
    objective: nn.Module, model: Transformer, settings: Parallel, world: World, seed: int
) -> nn.Module:
    """What to call for the loss: `objective`, built on the meta device, spread over all ranks.

    Its parameters get memory and their start values, the same for any number of ranks. `objective.log_probs`
    stays callable on the objective itself.
    """
    strategy = settings.strategy
    if strategy == "auto":
        strategy = "fsdp" if world.size > 1 else "single"
    for block in model.blocks:
        if settings.checkpoint_blocks:
            _recompute(block)
        if settings.compile:
            block.compile(fullgraph=True, dynamic=False)
    half = settings.dtype == "bfloat16"
    if strategy == "fsdp":
        mesh = init_device_mesh(world.device.type, (world.size,))
        policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32) if half else MixedPrecisionPolicy()
        for block in model.blocks:
            fully_shard(block, mesh=mesh, mp_policy=policy)
        fully_shard(objective, mesh=mesh, mp_policy=policy)
        register_fsdp_forward_method(objective, "log_probs")
    objective.to_empty(device=world.device)
    initialise(model, seed)
    if strategy == "fsdp":
        return objective
    if half:  # autocast leaves embeddings alone; in bf16 from there on, as under FSDP
        model.embed.register_forward_hook(lambda module, ids, rows: rows.to(torch.bfloat16))
    if strategy == "ddp":
        return DistributedDataParallel(objective, gradient_as_bucket_view=True)
    return objective


def _recompute(block: nn.Module) -> None:
    """Lets a block keep its input only, and compute the rest again in the backward pass."""
    forward = block.forward

    # A function of ours, with one tensor to `checkpoint`: torch.compile passes over frames of torch's own. It
    # lifts what is closed over, but takes no other objects as arguments here.
    def recomputed(x: Tensor, context: Context, store: None = None) -> Tensor:
        found = checkpoint(lambda x: forward(x, context, store), x, use_reentrant=False)
        assert isinstance(found, Tensor)
        return found

    block.forward = recomputed


@torch.no_grad()
def initialise(model: Transformer, seed: int) -> None:
    """Start values by (seed, name, shape), each rank its shard; one whole parameter in memory at a time."""
    for name, parameter in model.named_parameters():
        value = initial_weight(name, parameter.shape, model.config, seed).to(parameter.device)
        if isinstance(parameter, DTensor):
            mesh, placements = parameter.device_mesh, parameter.placements
            value = distribute_tensor(value, mesh, placements, src_data_rank=None)
        parameter.copy_(value)


def precision(settings: Parallel, module: nn.Module) -> nullcontext[None] | torch.autocast:
    """The context of forward passes: autocast, unless FSDP casts the weights itself."""
    if settings.dtype == "float32" or isinstance(module, FSDPModule):
        return nullcontext()
    device = next(module.parameters()).device
    return torch.autocast(device.type, dtype=torch.bfloat16)


@contextmanager
def accumulating(module: nn.Module, *, last: bool) -> Iterator[None]:
    """The context of one micro-batch: ranks exchange gradients only after the last."""
    if isinstance(module, DistributedDataParallel) and not last:
        with module.no_sync():
            yield
        return
    if isinstance(module, FSDPModule):
        module.set_requires_gradient_sync(last)
        module.set_is_last_backward(last)
    yield
