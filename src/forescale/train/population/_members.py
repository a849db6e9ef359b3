"""Members that take their steps as one program: their weights and optimizer states are rows of shared buffers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn

from forescale.optimizers._adamw import MOMENTS, adamw_update
from forescale.optimizers._plain import Block
from forescale.train._norms import linalg
from forescale.train._step import Piece, Stepper, ops, pieces
from forescale.train.population._stack import Stack


class Segment:
    """Parameters that stand in one group of the optimizer in every member: a row of each buffer is a member's.

    The members' own models and optimizers see their rows, so that a checkpoint or a held-out loss is that of a run by
    itself. A member's row is updated by one call of the optimizer's kernel.
    """

    def __init__(self, names: Sequence[str], steppers: Sequence[Stepper]) -> None:
        self.names = names
        models: list[dict[str, nn.Parameter]] = [dict(stepper.bare.named_parameters()) for stepper in steppers]
        shapes = [models[0][name].shape for name in names]
        self.ends: list[int] = list(accumulate(math.prod(shape) for shape in shapes))
        like = models[0][names[0]]
        self.values, self.grads, *self.moments = (like.new_zeros(len(steppers), self.ends[-1]) for _ in range(4))
        self.taken = torch.zeros(len(steppers), device=like.device)
        self.blocks: list[tuple[Block, dict[str, Any]]] = []
        for member, (stepper, model) in enumerate(zip(steppers, models, strict=True)):
            self._adopt(member, stepper, [model[name] for name in names])
        self.weights = {
            name: nn.Parameter(values.detach().view(len(steppers), *shape))
            for name, values, shape in zip(names, self._split(self.values, 1), shapes, strict=True)
        }

    @torch.no_grad()
    def _adopt(self, member: int, stepper: Stepper, parameters: Sequence[nn.Parameter]) -> None:
        """Move a member's numbers into its rows, and have its model and optimizer see them there."""
        rows = [buffer[member] for buffer in (self.values, self.grads, *self.moments)]
        parts = [self._split(row, 0) for row in (rows[0], *rows[2:])]
        optimizer: Any = stepper.optimizer
        state = optimizer.state
        for parameter, value, *moments in zip(parameters, *parts, strict=True):
            known = state.get(parameter)
            if known is not None:
                self.taken[member] = known["step"]
                for moment, name in zip(moments, MOMENTS, strict=True):
                    moment.copy_(known[name].flatten())
            value.copy_(parameter.flatten())
            parameter.data = value.view(parameter.shape)
            views = {name: m.view(parameter.shape) for name, m in zip(MOMENTS, moments, strict=True)}
            state[parameter] = {"step": self.taken[member], **views}
        rows[0].grad = rows[1]
        block = Block(params=[rows[0]], averages=[[rows[2]], [rows[3]]], steps=[self.taken[member]])
        group = next(g for g in stepper.optimizer.param_groups if any(p is parameters[0] for p in g["params"]))
        self.blocks.append((block, group))

    def _split(self, tensor: Tensor, axis: int) -> list[Tensor]:
        sizes = [end - start for start, end in zip([0, *self.ends], self.ends, strict=False)]
        return list(ops.split(tensor, sizes, axis))

    def take(self, grads: Sequence[Tensor], *, more: bool) -> None:
        """Note the gradients of the weights, (members, ...) each, or add them to those that are there."""
        flat = [grad.flatten(1) for grad in grads]
        if more:
            self.grads += torch.cat(flat, 1)
        else:
            torch.cat(flat, 1, out=self.grads)

    def update(self) -> None:
        """One AdamW update of every member, each at its own rates."""
        for block, group in self.blocks:
            adamw_update(block, group)


class Members:
    """Steppers of one shape; they hand over their numbers, and take no steps of their own meanwhile."""

    def __init__(self, steppers: Sequence[Stepper]) -> None:
        self.steppers = list(steppers)
        self.segments = [Segment(names, steppers) for names in _together(steppers)]
        weights = {name: weight for segment in self.segments for name, weight in segment.weights.items()}
        self.weights = list(weights.values())
        self.model: Any = Stack(steppers[0].bare, weights)
        if steppers[0].config.compile:
            self.model = ops.compile(self.model)
        self.pieces = self._pieces()
        limits = torch.tensor([stepper.config.grad_clip or float("inf") for stepper in steppers])
        self.limits = limits.to(self.weights[0].device)

    def _pieces(self) -> list[Piece]:
        """The sequences of a member at once are so many that all members' fit together."""
        first = self.steppers[0]
        most = max(1, first.micro_batch // len(self.steppers))
        return pieces(first.config.batch_sequences, most, first.world)

    def step(self, taken: Sequence[int]) -> list[tuple[float, float]]:
        """Every member takes its step, counted from 0: its loss before it (nats per token) and its gradient's norm."""
        for stepper, index in zip(self.steppers, taken, strict=True):
            stepper.set_rates(index)
        losses = self._gradients(taken)
        norms = self._clip()
        with torch.no_grad():
            for segment in self.segments:
                segment.update()
        numbers: Any = torch.stack((losses, norms), 1)
        return [(loss, norm) for loss, norm in numbers.tolist()]  # waits for the device, once

    def _gradients(self, taken: Sequence[int]) -> Tensor:
        total = torch.zeros((), device=self.weights[0].device)
        for piece in self.pieces:
            with self.steppers[0].autocast():
                objective, loss = self.model(self._rows(taken, piece))
            grads = iter(torch.autograd.grad((objective * piece.weight).sum(), self.weights))
            for segment in self.segments:
                segment.take([next(grads) for _ in segment.names], more=piece is not self.pieces[0])
            total = total + loss * piece.weight
        return total

    def _rows(self, taken: Sequence[int], piece: Piece) -> Tensor:
        """(members, sequences, length + 1) on the device; members of one seed at one step share what is read."""
        read: dict[tuple[int, int], Tensor] = {}
        rows: list[Tensor] = []
        for stepper, index in zip(self.steppers, taken, strict=True):
            key = (stepper.config.seed, index)
            if key not in read:
                position = index * stepper.config.batch_sequences + piece.start
                read[key] = stepper.batches.at(position, piece.sequences)
            rows.append(read[key])
        stacked = torch.stack(rows)
        device = self.weights[0].device
        return stacked if device.type == "cpu" else stacked.pin_memory().to(device, non_blocking=True)

    @torch.no_grad()
    def _clip(self) -> Tensor:
        grads = [segment.grads for segment in self.segments]
        norms: Tensor = linalg.vector_norm(torch.stack([linalg.vector_norm(grad, dim=1) for grad in grads]), dim=0)
        if not (norms.device.type == "cpu" and bool((norms <= self.limits).all())):
            factors = (self.limits / (norms + 1e-6)).clamp(max=1.0)  # as torch.nn.utils.clip_grad_norm_
            for grad in grads:
                grad.mul_(factors.unsqueeze(1))
        return norms


def _together(steppers: Sequence[Stepper]) -> list[list[str]]:
    """Names of parameters, those together that share a group of the optimizer in every member."""
    groups: dict[tuple[int, ...], list[str]] = {}
    owners = [_owners(stepper) for stepper in steppers]
    for name, _ in steppers[0].bare.named_parameters():
        groups.setdefault(tuple(owner[name] for owner in owners), []).append(name)
    return list(groups.values())


def _owners(stepper: Stepper) -> dict[str, int]:
    """The number of the group that each parameter is in."""
    numbers = {id(p): i for i, group in enumerate(stepper.optimizer.param_groups) for p in group["params"]}
    return {name: numbers[id(parameter)] for name, parameter in stepper.bare.named_parameters()}
