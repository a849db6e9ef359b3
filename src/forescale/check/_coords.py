"""The coordinate check: train a few steps at several sizes and look whether activations move with the size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from forescale.check._axes import AXES, check_counts, look_along
from forescale.check._probes import BRANCHES, find_probes, reader_of
from forescale.check._proxy import MakeModel, MakeRules, Proxy, rules_of, sequences_loss
from forescale.check._slopes import FALL, LIMIT, CoordCheck, make_curve

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
    axis, sizes = look_along(widths, depths, densities)
    check_counts(steps, seeds)
    base = {"width": widths[0], "depth": depths[0]}
    make_rules: MakeRules = rules_of(scheme, base, alpha, proxy.init_std)
    make: MakeModel = make_model or proxy.model
    data = list(batches) if batches is not None else _batches(proxy, steps)
    measured: list[list[dict[str, float]]] = []  # of each size, a row a step, summed over seeds
    decays: list[dict[str, float]] = []
    for done, at in enumerate(sizes):
        if progress is not None:
            progress(f"{axis} {at:g}", done, len(sizes))
        known: dict[str, Any] = {"width": widths[0], "depth": depths[0], "density": densities[0], axis: at}
        size = (known["width"], known["depth"], known["density"])
        rules = make_rules(*size)
        runs = [_run(rules, make(*size), data, learning_rate, steps, seed, optimizer) for seed in range(seeds)]
        measured.append(_mean([rows for rows, _ in runs]))
        decays.append(runs[0][1])
    kinds = [k for k in measured[0][0] if axis != "depth" or k not in BRANCHES]
    return CoordCheck(
        scheme=scheme if isinstance(scheme, str) else "your own rules",
        axis=axis,
        sizes=tuple(float(s) for s in sizes),
        fixed={name: float(of[0]) for name, of in zip(AXES, (widths, depths, densities), strict=True) if name != axis},
        steps=steps,
        seeds=seeds,
        learning_rate=learning_rate,
        curves=tuple(
            make_curve(
                kind,
                sizes,
                [[m[step][kind] for m in measured] for step in range(steps + 1)],
                limit,
                fall=FALL if kind == "logits" or (axis == "depth" and kind.startswith("residual")) else None,
            )
            for kind in kinds
        ),
        decays=tuple(
            make_curve(f"decay of {role}", sizes, [[d[role] for d in decays]], limit)
            for role in decays[0]
            if axis != "depth" and all(role in d for d in decays)  # published rules for it differ over the depth
        ),
        limit=limit,
    )


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
