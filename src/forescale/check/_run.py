"""One training run of the transfer check."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from functools import lru_cache
from hashlib import blake2b
from typing import Any

from forescale.check._identity import digest_of, name_of
from forescale.check._proxy import MakeModel, Proxy, rules_of, sequences_loss
from forescale.check._transfer_values import Point


@dataclass(frozen=True, kw_only=True)
class Job:
    """One training run to make."""

    scheme: Any
    alpha: float | None
    base: dict[str, int]
    width: int
    depth: int
    density: float
    learning_rate: float
    seed: int
    size: float  # of the three, the one that the check looks along
    proxy: Proxy
    optimizer: str
    # Whose weight decay every learning rate has; None: each keeps the timescale with its own.
    reference_rate: float | None = None
    make_model: MakeModel | None = field(default=None, compare=False)
    batches: Any = field(default=None, compare=False)

    @property
    def key(self) -> str:
        """What identifies the run in a folder of results."""
        known = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("make_model", "batches")}
        known["proxy"] = asdict(self.proxy)
        if self.make_model is not None:
            known["make_model"] = self.make_model
        if self.batches is not None:
            known["batches"] = digest_of(self.batches)
        return blake2b(json.dumps(known, sort_keys=True, default=name_of).encode(), digest_size=12).hexdigest()


def run(job: Job) -> Point:
    """Train once; the loss is that of held-out text, infinite where the run diverged."""
    import torch

    from forescale.optimizers import make_optimizer
    from forescale.schedules import by_name, factors

    make_rules = rules_of(job.scheme, job.base["width"], job.base["depth"], job.alpha, job.proxy.init_std)
    rules = make_rules(job.width, job.depth, job.density)
    model = (job.make_model or job.proxy.model)(job.width, job.depth, job.density)
    train, held_out = job.batches or _data(job.proxy)
    rules.initialize_(model, job.seed)
    decay = 1 / (job.proxy.timescale * job.proxy.steps * (job.reference_rate or job.learning_rate))
    recipe = {"learning_rate": job.learning_rate, "weight_decay": decay, "beta2": job.proxy.beta2}
    made = make_optimizer(job.optimizer, rules.param_groups(model, recipe, optimizer=job.optimizer))
    schedule = by_name(job.proxy.schedule, warmup=job.proxy.warmup)
    peaks = [group["lr"] for group in made.param_groups]
    parameters = [p for group in made.param_groups for p in group["params"]]
    for step, factor in enumerate(factors(schedule, job.proxy.steps)):
        for group, peak in zip(made.param_groups, peaks, strict=True):
            group["lr"] = peak * float(factor)
        made.zero_grad()
        loss = sequences_loss(model, train(step + job.seed * job.proxy.steps))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        made.step()
        if step % 10 == 0 and not math.isfinite(float(loss.detach())):
            return _point(job, math.inf)
    return _point(job, _held_out_loss(model, held_out))


def _held_out_loss(model: Any, sequences: Any) -> float:
    import torch

    model.eval()
    with torch.no_grad():
        parts = [float(sequences_loss(model, part, objective=False)) for part in sequences.split(16)]
    return sum(parts) / len(parts)


def _point(job: Job, loss: float) -> Point:
    lost = not math.isfinite(loss)
    return Point(size=job.size, learning_rate=job.learning_rate, seed=job.seed, loss=math.inf if lost else loss)


@lru_cache(maxsize=4)
def _data(proxy: Proxy) -> tuple[Callable[[int], Any], Any]:
    from forescale.train import Batches

    corpus = proxy.corpus()
    order = Batches(corpus.train, seq_len=proxy.seq_len)
    held = Batches(corpus.held_out, seq_len=proxy.seq_len, shuffle=False)
    count = min(proxy.evaluated, held.sequences)
    return lambda step: order.at(step * proxy.batch_sequences, proxy.batch_sequences), held.at(0, count)
