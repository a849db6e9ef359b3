"""One optimizer step, and what it needs: model, optimizer, data and the learning rate of every step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, Literal, NamedTuple, TypeVar

import torch
from torch import Tensor

from forescale.optimizers import make_optimizer
from forescale.parametrize import parametrization
from forescale.schedules import factor_at
from forescale.train._batches import Batches
from forescale.train._config import TrainConfig
from forescale.train._cores import Cores
from forescale.train._distributed import World, replicate, shard_, synchronised
from forescale.train._model import Decoder, build_model
from forescale.train._noise import make_meter
from forescale.workload import Shape

# FLOPs of a step. Parts on cores won at 1e9 and lost at 1e11 (the two shapes of benchmarks/peer_nanogpt.py).
LARGE_STEP = 5e10
CPU_MEMORY, ACCELERATOR_SHARE = 2**31, 0.4  # for the activations of one micro-batch, where none is given
ACTIVATIONS = 34  # numbers a token, layer and unit of width, about (Korthikanti et al. 2022, 2205.05198, equation 1)
Found = TypeVar("Found")
ops: Any = torch  # what has no public name or no types


class Piece(NamedTuple):
    """Sequences that a process takes at once; a weight of 0 keeps the processes in step."""

    start: int  # within the batch
    sequences: int
    weight: float  # share of the whole batch


class Stepper:
    """Takes optimizer steps; `model` is the module that trains, `bare` the one whose parameters have plain names."""

    def __init__(self, config: TrainConfig, world: World, batches: Batches) -> None:
        self.config, self.world, self.batches = config, world, batches
        self.schedule = config.make_schedule()
        self.precision = precision_of(config, world.device)
        self.bare, rules = make_model(config, world)
        groups = rules.param_groups(self.bare, config.recipe, optimizer=config.optimizer)
        self.optimizer = make_optimizer(config.optimizer, groups)
        self.rates: list[float] = [group["lr"] for group in self.optimizer.param_groups]
        self.parameters: list[Any] = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.meter = make_meter(config, self.bare)
        self.model: Any = replicate(self.bare, world)
        if config.compile:
            self.model = ops.compile(self.model)
        self.micro_batch = config.micro_batch or fitting(config, world, self.precision)
        self.pieces = pieces(config.batch_sequences, self.micro_batch, world)
        self.on_cpu = world.device.type == "cpu"
        self.threads = torch.get_num_threads()
        self.cores = Cores(self.threads) if self.threads > 1 and divisible(config, world) else None

    def learning_rate(self, index: int) -> float:
        """The rate of step `index`, counted from 0, at the base of the parametrization."""
        return self.config.learning_rate * factor_at(self.schedule, index, self.config.steps)

    def step(self, index: int) -> tuple[Tensor, Tensor]:
        """Take step `index`: the loss before it (nats per token, over all processes) and the gradient's norm."""
        self.set_rates(index)
        loss = self._gradients(index * self.config.batch_sequences)
        if self.meter is not None:
            self.meter.update()
        norm = self._clip()
        self.optimizer.step()
        for parameter in self.parameters:
            parameter.grad = None
        return loss, norm

    def set_rates(self, index: int) -> None:
        """Give the optimizer's groups their rates at step `index`."""
        factor = factor_at(self.schedule, index, self.config.steps)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor

    def autocast(self) -> Any:
        """The context that the forward pass runs in."""
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.world.device.type, torch.bfloat16)

    def batch(self, position: int, count: int) -> tuple[Tensor, Tensor]:
        """Tokens and targets of `count` sequences, on the device."""
        rows = self.batches.at(position, count)
        if self.world.device.type == "cuda":
            rows = rows.pin_memory().to(self.world.device, non_blocking=True)
        return rows[:, :-1], rows[:, 1:]

    def _gradients(self, position: int) -> Tensor:
        if self.cores is not None:
            return self._on_cores(position)
        if len(self.pieces) == 1 and self.world.size == 1:
            with self.autocast():
                objective, loss = self.model(*self.batch(position, self.config.batch_sequences))
            objective.backward()
            return loss
        return self._accumulated(position)

    def spread(self, work: Callable[[Tensor], Found], rows: Tensor) -> list[tuple[Found, int]]:
        """What `work` makes of the rows, and of how many: of all of them, or a part a core."""
        parts = [rows] if self.cores is None else self.cores.split(rows)
        found = [work(rows)] if self.cores is None else self.cores.run(work, parts)
        return [(one, len(part)) for one, part in zip(found, parts, strict=True)]

    def _on_cores(self, position: int) -> Tensor:
        """Every core takes a part of the batch; sums run in the order of the parts, so that a run can be repeated."""
        total, sums = torch.zeros(()), None
        for piece in self.pieces:
            rows = self.batches.at(position + piece.start, piece.sequences)
            for (loss, grads), _ in self.spread(self._part, rows):
                total += loss
                sums = grads if sums is None else ops._foreach_add(sums, grads)
        for parameter, gradient in zip(self.parameters, sums or (), strict=True):
            parameter.grad = gradient
        return total

    def _part(self, rows: Tensor) -> tuple[Tensor, Sequence[Tensor]]:
        share = len(rows) / self.config.batch_sequences
        with self.autocast():
            objective, loss = self.model(rows[:, :-1], rows[:, 1:])
        return loss * share, torch.autograd.grad(objective * share, self.parameters)

    def _accumulated(self, position: int) -> Tensor:
        """Each piece counts by its sequences. Wrappers average over processes, so the weights are those of the sum."""
        total = torch.zeros((), device=self.world.device)
        for piece in self.pieces:
            with synchronised(self.model, self.world, piece is self.pieces[-1]):
                with self.autocast():
                    objective, loss = self.model(*self.batch(position + piece.start, piece.sequences))
                (objective * (piece.weight * self.world.size)).backward()
            total += loss * piece.weight
        return self.world.total(total)

    @torch.no_grad()
    def _clip(self) -> Tensor:
        grads = [_local(p.grad) for p in self.parameters if p.grad is not None]
        norm = torch.stack(ops._foreach_norm(grads)).square().sum()
        if self.world.mode == "fsdp":
            norm = self.world.total(norm)
        norm = norm.sqrt()
        limit = self.config.grad_clip
        if limit and not (self.on_cpu and float(norm) <= limit):
            ops._foreach_mul_(grads, (limit / (norm + 1e-6)).clamp(max=1.0))  # as torch.nn.utils.clip_grad_norm_
        return norm


def divisible(config: TrainConfig, world: World) -> bool:
    """Whether the cores of this machine can each take a part of a batch and find the same loss.

    Not with experts, whose balance is that of the whole batch, nor under a compiler, which has threads of its own, nor where
    steps are so large that operators use threads of their own as well, nor where noise is measured, which needs `backward`.
    """
    alone = world.size == 1 and world.device.type == "cpu"
    small = config.flops_per_token * config.batch_tokens < LARGE_STEP
    plain = config.shape.experts is None and not config.compile and config.noise == "off"
    return alone and small and plain and config.batch_sequences > 1


def _local(tensor: Any) -> Tensor:
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def make_model(config: TrainConfig, world: World) -> tuple[Decoder, Any]:
    """The model with the parametrization's initial values, sharded where asked for, and the parametrization."""
    rules = parametrization(config.scheme, base=_base(config), init_std=config.init_std, **_scheme_options(config))
    sharded = world.mode == "fsdp"
    device = "meta" if sharded else world.device
    model = build_model(config.shape, config.options, seq_len=config.seq_len, seed=config.seed, device=device)
    if sharded:
        shard_(model, world)
        model.to_empty(device=world.device)
        model.fill_buffers_()
    rules.initialize_(model, config.seed)
    return model, rules


def _base(config: TrainConfig) -> Shape:
    return config.base or Shape(width=config.shape.width, layers=config.shape.layers)


def _scheme_options(config: TrainConfig) -> dict[str, Any]:
    """The scheme's options; the one that scales with the density takes the model's."""
    options = dict(config.scheme_options)
    if config.scheme == "supar":
        options.setdefault("density", config.options.density)
    return options


def precision_of(config: TrainConfig, device: torch.device) -> Literal["fp32", "bf16"]:
    """`fp32` or `bf16`; left to the device, bf16 where it is an accelerator that has it."""
    if config.precision != "auto":
        return config.precision
    return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "fp32"


def fitting(config: TrainConfig, world: World, precision: str) -> int:
    """Sequences at once whose activations fit a share of memory."""
    shape, width = config.shape, 2 if precision == "bf16" else 4
    layers = 1 if config.options.checkpointing else shape.layers
    token = width * ACTIVATIONS * layers * shape.width + 12 * shape.vocab  # logits, their gradient and the softmax
    memory = CPU_MEMORY
    if world.device.type == "cuda":
        memory = ACCELERATOR_SHARE * ops.cuda.get_device_properties(world.device).total_memory
    return max(1, int(memory / (token * config.seq_len)))


def pieces(batch: int, micro_batch: int, world: World) -> list[Piece]:
    """The sequences of a batch that this rank takes, at most `micro_batch` a piece and as many pieces in every process."""
    most = max(world.share(batch, rank)[1] for rank in range(world.size))
    rounds = -(-most // micro_batch)
    start, count = world.share(batch)
    made: list[Piece] = []
    for i in range(rounds):
        first, last = i * count // rounds, (i + 1) * count // rounds
        made.append(Piece(start + first, max(last - first, 1), (last - first) / batch))
    return made
