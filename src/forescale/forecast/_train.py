"""Training: random windows, Adam, and the weights that were best on windows held out."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn

from forescale.errors import ForescaleError
from forescale.forecast._options import whole
from forescale.forecast._torch import chunks, whole_numbers
from forescale.forecast._windows import Cutter, Windows

VALIDATION_BATCH, SEARCHED = 512, 4096  # windows at a time


@dataclass(frozen=True, kw_only=True)
class Training:
    """How a forecaster is trained; the learning rate rises over `warmup` and falls to zero, both linearly."""

    steps: int = 1000
    batch: int = 128  # windows
    learning_rate: float = 5e-3
    weight_decay: float = 1e-4
    warmup: float = 0.05  # share of the steps
    clip: float = 1.0  # of the gradient's norm
    checks: int = 20  # on the validation windows, evenly spread
    patience: int = 6  # checks without a better one before training stops
    validation: int = 1  # windows at each series' end that are held out
    context_weight: float = 0.0  # of the context's points in the loss
    average: int = 25  # steps that the weights are a mean of, exponentially: with few series the best come early
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "checks", "patience"):
            whole(getattr(self, name), name)
        for name in ("learning_rate", "clip"):
            if not (isinstance(getattr(self, name), Real) and getattr(self, name) > 0):
                raise ForescaleError(f"{name} must be a number above 0; got {getattr(self, name)!r}.")
        for name in ("weight_decay", "validation", "context_weight"):
            if not getattr(self, name) >= 0:
                raise ForescaleError(f"{name} must be 0 or more; got {getattr(self, name)!r}.")
        if not 0 <= self.warmup < 1:
            raise ForescaleError(f"warmup is a share of the steps from 0 to below 1; got {self.warmup!r}.")


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """What training came to; losses are nats a point, in units of the normalised series."""

    steps: int
    best_step: int
    loss: float  # on the validation windows, at the best step
    losses: tuple[tuple[int, float, float], ...] = field(default=())  # step, training and validation loss of each check
    left_out: tuple[str, ...] = ()  # series that are too short or all constant
    cpu_seconds: float | None = None  # of this process, all its threads; None: not measured


def fit_network(
    network: nn.Module,
    cutter: Cutter,
    training: Training,
    told: Callable[[int, float, float], None],
    moved: Callable[[int], None],
    names: Sequence[Any],
) -> Fitted:
    """Train in place; `told` hears step, training and validation loss at every check, `moved` every step."""
    generator = torch.Generator().manual_seed(training.seed)
    pool, held = _origins(cutter, training)
    validation = _validation_windows(cutter, held)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay, fused=True
    )
    mean = copy.deepcopy(network).eval()
    best, best_state = (float("inf"), 0), copy.deepcopy(mean.state_dict())
    losses: list[tuple[int, float, float]] = []
    recent: list[float] = []
    every = max(training.steps // training.checks, 1)
    step = 0
    for step in range(1, training.steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = training.learning_rate * _factor(step / training.steps, training.warmup)
        recent.append(_step(network, optimizer, _draw(cutter, pool, training.batch, generator), training))
        _follow(mean, network, max(1 / step, 1 / training.average))
        moved(step)
        if step % every and step < training.steps:
            continue
        loss = mean_loss(mean, validation)
        losses.append((step, sum(recent) / len(recent), loss))
        recent = []
        told(*losses[-1])
        if loss < best[0]:
            best, best_state = (loss, step), copy.deepcopy(mean.state_dict())
        elif sum(at > best[1] for at, _, _ in losses) >= training.patience:
            break
    if not best[1]:
        raise ForescaleError(
            f"training diverged: no check of {step} steps found a finite loss at a learning rate of "
            f"{training.learning_rate}: take a lower one."
        )
    network.load_state_dict(best_state)
    network.eval()
    left_out = tuple(str(names[k]) for k in sorted(set(range(len(names))) - set(whole_numbers(pool[:, 0]))))
    return Fitted(steps=step, best_step=best[1], loss=best[0], losses=tuple(losses), left_out=left_out)


def _follow(mean: nn.Module, network: nn.Module, share: float) -> None:
    with torch.no_grad():
        for kept, now in zip(mean.parameters(), network.parameters(), strict=True):
            kept.lerp_(now, share)


def _factor(progress: float, warmup: float) -> float:
    return progress / warmup if progress < warmup else max((1 - progress) / (1 - warmup), 1e-3)


def _step(network: nn.Module, optimizer: torch.optim.Optimizer, windows: Windows, training: Training) -> float:
    loss = _loss(network, windows, training.context_weight)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    nn.utils.clip_grad_norm_(network.parameters(), training.clip)
    optimizer.step()
    return float(loss.detach())


def _loss(network: Any, windows: Windows, context_weight: float = 0.0) -> Tensor:
    """Mean NLL of the horizon's observed points."""
    inputs = windows.inputs(network.density.grid)
    horizon = windows.layout.horizon
    last = inputs.steps if context_weight else horizon
    law, z, bins = network(inputs, last), inputs.z[:, -last:], inputs.bins[:, -last:]
    log_prob = law.log_prob(z, bins).clamp(min=-50)  # a value without a tail's support teaches only its bin
    weight = windows.observed.float()
    if context_weight:
        weight = torch.cat([weight.new_full((len(z), last - horizon), context_weight), weight], 1)
    return -(log_prob * weight).sum() / weight.sum().clamp(min=1)


def mean_loss(network: Any, windows: Windows) -> float:
    """Mean NLL of the horizon's observed points, nats in units of the normalised series."""
    total = count = 0.0
    with torch.no_grad():
        for index in chunks(len(windows.z), VALIDATION_BATCH):
            part = windows.take(index)
            weight = float(part.observed.sum())
            total += float(_loss(network, part)) * weight
            count += weight
    return total / max(count, 1)


def _origins(cutter: Cutter, training: Training) -> tuple[Tensor, Tensor]:
    """Origins to draw from and those held out, [origins, 2] of series and step: past half a span, the horizon observed."""
    layout = cutter.layout
    pool: list[Tensor] = []
    held: list[tuple[int, int]] = []
    for series, length in enumerate(whole_numbers(cutter.lengths)):
        last = length - layout.horizon * (1 + training.validation)
        least = min(layout.span, max(length // 4, 2))
        origins = torch.arange(least, max(last + 1, least))
        pool.append(torch.stack([torch.full_like(origins, series), origins], 1))
        for k in range(training.validation if last >= least else 0):
            held.append((series, length - layout.horizon * (k + 1)))
    kept = _useful(cutter, torch.cat(pool))
    checked = _useful(cutter, torch.tensor(held).reshape(-1, 2))
    if not len(kept):
        raise ForescaleError(
            f"no window to train on: with a horizon of {layout.horizon}, a series needs "
            f"{layout.horizon * (1 + training.validation) + 3} values or more that are not all alike before the last "
            f"horizon; the longest has {int(cutter.lengths.max())}: give longer series that vary, or a shorter horizon."
        )
    return kept, checked if len(checked) else kept[-1:]


def _useful(cutter: Cutter, origins: Tensor) -> Tensor:
    """Those whose span is not constant and whose horizon has an observed value."""
    keep = [torch.zeros(0, dtype=torch.bool)]
    for index in chunks(len(origins), SEARCHED):
        windows = cutter.cut(origins[index, 0], origins[index, 1])
        keep.append(~windows.constant & windows.observed.any(1))
    return origins[torch.cat(keep)]


def _draw(cutter: Cutter, pool: Tensor, batch: int, generator: torch.Generator) -> Windows:
    chosen = pool[torch.randint(len(pool), (batch,), generator=generator)]
    return cutter.cut(chosen[:, 0], chosen[:, 1])


def _validation_windows(cutter: Cutter, held: Tensor) -> Windows:
    return cutter.cut(held[:, 0], held[:, 1])
