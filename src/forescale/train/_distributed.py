"""One process or several: who takes which sequences, and what they agree on."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from inspect import signature
from typing import Any, Literal

import torch
from torch import Tensor, nn

from forescale.errors import ForescaleError
from forescale.train._config import TrainConfig

Mode = Literal["none", "ddp", "fsdp"]
PATIENCE = timedelta(hours=24)  # the others wait while the first process tokenises
distributed: Any = torch.distributed


@dataclass(frozen=True, kw_only=True)
class World:
    """The processes that train one model together; rank 0 of 1 where there is one."""

    device: torch.device
    mode: Mode = "none"
    rank: int = 0
    size: int = 1

    @property
    def main(self) -> bool:
        """Whether this process writes and prints."""
        return self.rank == 0

    def share(self, count: int, rank: int | None = None) -> tuple[int, int]:
        """Where this rank's sequences start among `count`, and how many they are; ranks differ by one at most."""
        rank = self.rank if rank is None else rank
        start = rank * count // self.size
        return start, (rank + 1) * count // self.size - start

    def total(self, value: Tensor) -> Tensor:
        """The sum over all processes, in place."""
        if self.size > 1:
            distributed.all_reduce(value)
        return value

    def agree(self, flag: bool) -> bool:
        """Whether any process says yes."""
        if self.size == 1:
            return flag
        return bool(self.total(torch.tensor(float(flag), device=self.device)) > 0)

    def wait(self) -> None:
        """Until every process is here."""
        if self.size > 1:
            distributed.barrier()


@contextmanager
def joined(config: TrainConfig) -> Generator[World]:
    """The world that `torchrun` has set up, or a world of one; torch's thread count is the config's meanwhile."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    threads = torch.get_num_threads()
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    try:
        if size == 1 or config.parallel == "none":
            _check_alone(size)
            yield World(device=device_of(config.device, 0))
        else:
            with _group(config, size) as world:
                yield world
    finally:
        torch.set_num_threads(threads)


def _check_alone(size: int) -> None:
    if size > 1:
        raise ForescaleError(
            f"parallel none is for one process; torchrun started {size}: give --parallel ddp or fsdp, or start it alone."
        )


@contextmanager
def _group(config: TrainConfig, size: int) -> Generator[World]:
    local = int(os.environ.get("LOCAL_RANK", "0"))
    device = device_of(config.device, local)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    started = not distributed.is_initialized()
    if started:
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    mode: Mode = "fsdp" if config.parallel == "fsdp" else "ddp"
    try:
        yield World(device=device, mode=mode, rank=distributed.get_rank(), size=size)
    finally:
        if started:
            distributed.destroy_process_group()


def device_of(name: str, local: int = 0) -> torch.device:
    """The device that a name stands for; `auto` is the GPU of this process where there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ForescaleError(f"device must be auto, cpu, cuda or cuda:N; got {name!r}: correct it.") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ForescaleError("device cuda needs an NVIDIA GPU and a torch that finds it; there is none: leave it out.")
    return torch.device("cuda", local) if str(device) == "cuda" else device


def shard_(model: nn.Module, world: World) -> None:
    """FSDP2 over every block and the rest, in place."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(world.device.type, (world.size,))
    blocks: Any = model.blocks
    for block in blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)


def replicate(model: nn.Module, world: World) -> nn.Module:
    """DistributedDataParallel around the model; nothing in other modes."""
    if world.mode != "ddp":
        return model
    from torch.nn.parallel import DistributedDataParallel

    # Buffers never change. Since torch 2.13 the old word for it warns.
    wrapper: Any = DistributedDataParallel
    new = "forward_sync_buffers" in signature(wrapper).parameters
    options: dict[str, Any] = {"forward_sync_buffers" if new else "broadcast_buffers": False}
    if world.device.type == "cuda":
        options["device_ids"] = [world.device]
    return wrapper(model, gradient_as_bucket_view=True, **options)


@contextmanager
def synchronised(model: nn.Module, world: World, last: bool) -> Generator[None]:
    """Gradients are exchanged in the last of a step's backward passes alone."""
    if world.mode == "ddp" and not last:
        wrapped: Any = model
        with wrapped.no_sync():
            yield
        return
    if world.mode == "fsdp":
        wrapped = model
        wrapped.set_requires_gradient_sync(last)
    yield
