"""The coordinate check: train a few steps at several sizes and look whether activations move with the size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from forescale.check._axes import Axis, called, check_counts, look_along
from forescale.check._probes import BRANCHES, find_probes, reader_of
from forescale.check._proxy import MakeModel, MakeRules, Proxy, rules_of, sequences_loss
from forescale.check._slopes import FALL, LIMIT, CoordCheck, Curve, make_curve

WEIGHT_DECAY = 0.1
Progress = Callable[[str, int, int], None]


def check_coords(
    scheme: Any,
    *,
    widths: Sequence[int] = (64, 128, 256, 512),
    depths: Sequence[int] = (2,),
    densities: Sequence[float] = (1.0,),
    learning_rate: float = 2.0**-8,
    steps: int = 10,
    seeds: int = 2,
    alpha: float | None = None,
    proxy: Proxy | None = None,
    make_model: MakeModel | None = None,
    batches: Any = None,
    optimizer: str = "adamw",
    limit: float = LIMIT,
    progress: Progress | None = None,
) -> CoordCheck:
    """Mean |x| of embedding, branches, residual stream and logits over one of width, depth and density, and a verdict.

    Just one of `widths`, `depths` and `densities` has several sizes; the first (of densities: the densest) is the base.
    `scheme` is a name of `forescale.parametrization`, or a function (width, depth, density) -> rules. A model of your own comes
    from `make_model(width, depth, density)` and its data from `batches`, a list of (count, length + 1) token tensors.
    `learning_rate` is the base's, and deliberately large. Over the depth branches are not judged, for they should shrink.
    A coordinate check misses faults that `check_transfer` sees.
    """
    proxy = proxy or Proxy()
    axis = look_along(widths, depths, densities)
    check_counts(steps, seeds)
    make_rules: MakeRules = rules_of(scheme, axis.base_width, axis.base_depth, alpha, proxy.init_std)
    make: MakeModel = make_model or proxy.model
    data = list(batches) if batches is not None else _batches(proxy, steps)
    measured: list[list[dict[str, float]]] = []  # of each size, a row a step, the mean over the seeds
    decays: list[dict[str, float]] = []
    for done, at in enumerate(axis.sizes):
        if progress is not None:
            progress(f"{axis.name} {at:g}", done, len(axis.sizes))
        size = axis.at(at)
        rules = make_rules(*size)
        runs = [_run(rules, make(*size), data, learning_rate, steps, seed, optimizer) for seed in range(seeds)]
        measured.append(_mean([rows for rows, _ in runs]))
        decays.append(runs[0][1])
    return CoordCheck(
        scheme=called(scheme),
        axis=axis.name,
        sizes=axis.sizes,
        fixed=axis.fixed,
        steps=steps,
        seeds=seeds,
        learning_rate=learning_rate,
        curves=_curves(axis, measured, limit),
        decays=_decay_curves(axis, decays, limit),
        limit=limit,
    )


def _curves(axis: Axis, measured: Sequence[Sequence[dict[str, float]]], limit: float) -> tuple[Curve, ...]:
    deep = axis.name == "depth"
    made: list[Curve] = []
    for kind in measured[0][0]:
        if deep and kind in BRANCHES:
            continue
        values = [[rows[step][kind] for rows in measured] for step in range(len(measured[0]))]
        falls = kind == "logits" or (deep and kind.startswith("residual"))
        made.append(make_curve(kind, axis.sizes, values, limit, fall=FALL if falls else None))
    return tuple(made)


def _decay_curves(axis: Axis, decays: Sequence[dict[str, float]], limit: float) -> tuple[Curve, ...]:
    """None over the depth, for published rules differ there."""
    roles = [] if axis.name == "depth" else [role for role in decays[0] if all(role in d for d in decays)]
    return tuple(make_curve(f"decay of {role}", axis.sizes, [[d[role] for d in decays]], limit) for role in roles)


def _batches(proxy: Proxy, steps: int) -> list[Any]:
    from forescale.train import Batches

    order = Batches(proxy.corpus().train, seq_len=proxy.seq_len)
    return [order.at(i * proxy.batch_sequences, proxy.batch_sequences) for i in range(steps)]


def _run(
    rules: Any, model: Any, data: Sequence[Any], learning_rate: float, steps: int, seed: int, optimizer: str
) -> tuple[list[dict[str, float]], dict[str, float]]:
    """Activations before and after every step on the first batch, and the decay a step of every role."""
    from forescale.optimizers import make_optimizer

    rules.initialize_(model, seed)
    recipe = {"learning_rate": learning_rate, "weight_decay": WEIGHT_DECAY}
    groups = rules.param_groups(model, recipe, optimizer=optimizer)
    made = make_optimizer(optimizer, groups)
    read = reader_of(model, find_probes(rules, model), data[0])
    rows = [read()]
    for step in range(steps):
        made.zero_grad()
        sequences_loss(model, data[(step + seed) % len(data)]).backward()
        made.step()
        rows.append(read())
    return rows, _decays(rules, model, groups)


def _decays(rules: Any, model: Any, groups: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Role -> learning rate times weight decay, of the first tensor of that role that is decayed."""
    roles = {t.name: t.role for t in rules.tensors(model)}
    found: dict[str, float] = {}
    for group in groups:
        for name in group["param_names"]:
            if group["weight_decay"]:
                found.setdefault(roles[name], group["lr"] * group["weight_decay"])
    return found


def _mean(runs: Sequence[Sequence[dict[str, float]]]) -> list[dict[str, float]]:
    return [{kind: sum(row[kind] for row in rows) / len(rows) for kind in rows[0]} for rows in zip(*runs, strict=True)]
