"""What a loss law is fitted to: columns of numbers, checked, from a table of runs or from arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from forescale.errors import ForescaleError, UnknownNameError
from forescale.fit._problem import UNTRAINED
from forescale.fit.loss._families import FORMS
from forescale.laws._families import FAMILIES
from forescale.runs import Runs
from forescale.runs._batch import AGREE

if TYPE_CHECKING:
    from forescale.fit.loss._robust import Array

ALIASES = {
    "chinchilla": "additive",
    "data-constrained": "repeated",
    "frantar": "sparse",
    "gadre": "over-training",
    "moe": "experts",
    "muennighoff": "repeated",
}
FEWEST_TOKENS = 1e4
SAME = 0.02  # of an input: runs that differ by less cannot tell its exponent
OFF = 20.0  # times 6 params tokens: compute beyond is in other units
KNOWN = ("params", "active_params", "nonzero_params", "tokens", "unique_tokens", "sparsity", "compute", "loss")


@dataclass(frozen=True, kw_only=True, eq=False)
class LossColumns:
    """The law's inputs, compute (FLOPs), loss and groups of the runs that count, with what was chosen on the way."""

    x: Mapping[str, Array]
    compute: Array
    loss: Array
    groups: Any  # one label or number a run
    source: str
    notes: tuple[str, ...]

    def part(self, chosen: Any) -> LossColumns:
        """Some of the runs, their groups as they were."""
        return LossColumns(
            x={name: v[chosen] for name, v in self.x.items()},
            compute=self.compute[chosen],
            loss=self.loss[chosen],
            groups=self.groups[chosen],
            source=self.source,
            notes=self.notes,
        )


def family_name(family: str) -> str:
    """The family of that name or of its authors; raise `UnknownNameError` for neither."""
    name = ALIASES.get(family, family)
    if name not in FORMS:
        known = ", ".join(sorted({*FORMS, *ALIASES}))
        raise UnknownNameError(f"no loss law to fit is named {family!r}; there are {known}.")
    return name


def loss_columns(runs: Runs | Mapping[str, Any], family: str, groups: Any) -> LossColumns:
    """Check and complete the columns that `family` needs; `groups` is one label a run, or a column's name."""
    import numpy as np

    raw, source, notes = _read(runs)
    raw, derived = _complete(raw, FAMILIES[family].inputs or ())
    x = {name: raw[name] for name in FAMILIES[family].inputs or ()}
    label = _groups(runs, groups, len(raw["loss"]))
    _check_compute(raw, source)
    kept, dropped = _finite(raw["loss"], source)
    columns = LossColumns(
        x=x, compute=_compute(raw), loss=raw["loss"], groups=label, source=source, notes=(*notes, *derived, *dropped)
    ).part(kept)
    if isinstance(runs, Runs):
        columns = _lowest(runs, columns, kept)
        columns = replace(columns, notes=(*columns.notes, *_steps_agree(runs)))
    columns = replace(columns, notes=(*columns.notes, *_repeats(columns)))
    check_columns(columns, family)
    _, numbered = np.unique(columns.groups, return_inverse=True)
    return replace(columns, groups=numbered)


def _read(runs: Runs | Mapping[str, Any]) -> tuple[dict[str, Array], str, tuple[str, ...]]:
    import numpy as np

    if isinstance(runs, Runs):
        made = {name: runs.frame[name].to_numpy() for name in KNOWN if name in runs.frame.columns}
        return made, runs.source, runs.notes
    try:
        made = {name: np.asarray(runs[name], dtype=float).ravel() for name in KNOWN if name in runs}
    except (TypeError, ValueError) as error:
        raise ForescaleError(f"the runs' columns must hold numbers: {error}.") from None
    if "loss" not in made or len({len(v) for v in made.values()}) != 1:
        sizes = ", ".join(f"{name} {len(v)}" for name, v in made.items())
        raise ForescaleError(f"the runs need a loss and columns of one length; got {sizes or 'none'}.")
    return made, "the arrays", ()


def _complete(raw: dict[str, Array], inputs: Sequence[str]) -> tuple[dict[str, Array], tuple[str, ...]]:
    """Tokens from compute, compute from tokens, non-zero parameters from sparsity."""
    rules: dict[str, tuple[tuple[str, ...], Callable[[dict[str, Array]], Array], str]] = {
        "tokens": (("compute", "params"), lambda r: r["compute"] / (6 * r["params"]), "compute / (6 params)"),
        "compute": (("params", "tokens"), lambda r: 6 * r["params"] * r["tokens"], "6 params tokens"),
        "nonzero_params": (
            ("params", "sparsity"),
            lambda r: r["params"] * (1 - r["sparsity"]),
            "params (1 - sparsity)",
        ),
    }
    notes: list[str] = []
    for name, (needs, rule, said) in rules.items():
        if name in inputs and name not in raw and all(n in raw for n in needs):
            raw = {**raw, name: rule(raw)}
            notes.append(f"{name} is taken as {said}")
    if missing := [name for name in inputs if name not in raw]:
        raise ForescaleError(f"this loss law needs {', '.join(missing)}; the runs have {', '.join(raw)}.")
    return raw, tuple(notes)


def _check_compute(raw: Mapping[str, Array], source: str) -> None:
    """Tokens are many, and compute is about 6 params tokens, whatever it counts of attention."""
    import numpy as np

    if "tokens" not in raw:
        return
    few = np.flatnonzero(raw["tokens"] < FEWEST_TOKENS)
    if len(few) and raw["tokens"][few[0]] > 0:
        raise ForescaleError(
            f"run {int(few[0]) + 1} of {source} has {raw['tokens'][few[0]]:.3g} tokens: tokens and compute must count in "
            "ones (FLOPs, not EFLOPs)."
        )
    factor = float(np.median(_compute(raw) / _trained(raw)))
    if factor < 1 / OFF or factor > OFF:  # not where a NaN waits for its own message
        raise ForescaleError(
            f"compute is {factor:.3g} times 6 params tokens in {source}: the units look mixed up; it must be in FLOPs."
        )


def _steps_agree(runs: Runs) -> tuple[str, ...]:
    """Steps times batch are the tokens, where the runs have all three."""
    import polars as pl

    if not {"steps", "batch_tokens", "tokens"} <= set(runs.frame.columns):
        return ()
    made = runs.frame.select(factor=pl.col("steps") * pl.col("batch_tokens") / pl.col("tokens"))["factor"].drop_nulls()
    factor: Any = made.median()
    if factor is None or abs(factor - 1) <= AGREE or not bool(((made / factor - 1).abs() <= AGREE).all()):
        return ()
    return (
        f"steps x batch is {factor:.4g} times the tokens in every run: one of the three is in other units, and a loss law "
        "needs the tokens in ones",
    )


def _repeats(columns: LossColumns) -> tuple[str, ...]:
    """Runs of the same inputs with different losses."""
    import numpy as np

    table = np.stack(list(columns.x.values()), axis=1)
    _, at = np.unique(table, axis=0, return_inverse=True)
    count = int(at.max()) + 1 if len(at) else 0
    low, high = np.full(count, np.inf), np.zeros(count)
    np.minimum.at(low, at, columns.loss)
    np.maximum.at(high, at, columns.loss)
    apart: Any = high / low - 1
    if not (apart > 0).any():
        return ()
    return (
        f"{int((apart > 0).sum())} of {count} settings were run more than once with different losses, up to "
        f"{100 * apart.max():.2g} % apart: each run counts",
    )


def _compute(raw: Mapping[str, Array]) -> Array:
    return raw["compute"] if "compute" in raw else _trained(raw)


def _trained(raw: Mapping[str, Array]) -> Array:
    """6 N D with the parameters that compute."""
    return 6 * next(raw[n] for n in ("nonzero_params", "active_params", "params") if n in raw) * raw["tokens"]


def _groups(runs: Runs | Mapping[str, Any], groups: Any, count: int) -> Any:
    import numpy as np

    if groups is None:
        return np.arange(count)
    if isinstance(groups, str):
        if isinstance(runs, Runs):
            return runs.frame[_column(runs, groups)].to_numpy()
        if groups not in runs:
            raise UnknownNameError(f"the runs have no column {groups!r} to group by; they have {', '.join(runs)}.")
        groups = runs[groups]
    label = np.asarray(groups).ravel()
    if len(label) != count:
        raise ForescaleError(f"groups must be one label a run: {count} runs, {len(label)} labels.")
    return label


def _column(runs: Runs, name: str) -> str:
    """A column of the runs by our name or by the source's."""
    ours = {theirs: our for our, theirs in runs.columns.items()} | {column: column for column in runs.frame.columns}
    if name not in ours:
        raise UnknownNameError(
            f"the runs have no column {name!r} to group by; what was read of them is {', '.join(runs.frame.columns)}."
        )
    return ours[name]


def _finite(loss: Array, source: str) -> tuple[Any, tuple[str, ...]]:
    """Runs with a finite loss; NaN and losses of 0 or below are errors, infinite ones diverged and are left out."""
    import numpy as np

    if (bad := np.flatnonzero(np.isnan(loss) | (loss <= 0))).size:
        raise ForescaleError(
            f"losses must be above 0; run {int(bad[0]) + 1} of {source} has {loss[bad[0]]:g}: correct it or remove it."
        )
    kept = np.flatnonzero(np.isfinite(loss))
    lost = len(loss) - len(kept)
    if lost and not len(kept):
        raise ForescaleError(f"every run of {source} diverged: a loss law needs runs that were trained.")
    return kept, (f"{lost} diverged runs are left out",) if lost else ()


def _lowest(runs: Runs, columns: LossColumns, kept: Any) -> LossColumns:
    """Of a sweep over learning rate or batch, the lowest loss of each cell: a loss law is of tuned runs."""
    import polars as pl

    frame = runs.frame
    swept = [c for c in ("learning_rate", "batch_tokens") if c in frame.columns]
    keys = [c for c in ("params", "active_params", "tokens") if c in frame.columns]
    if "tokens" not in frame.columns or not swept:
        return columns
    settings = frame.group_by(keys).agg(pl.struct(swept).n_unique().alias("settings"))["settings"]
    if (settings <= 1).all():
        return columns
    part = frame[kept.tolist()].with_row_index("at")
    best = part.sort("loss", "at").unique(["cell"], keep="first", maintain_order=True).sort("at")["at"].to_numpy()
    note = f"the runs are a sweep: the lowest loss of each of {len(best)} cells is fitted, of {len(kept)} runs"
    chosen = columns.part(best)
    return replace(chosen, notes=(*chosen.notes, note))


def check_columns(columns: LossColumns, family: str) -> None:
    """Raise `ForescaleError` where the runs cannot tell the law: too few, or an input that never changes."""
    import numpy as np

    need = len(FAMILIES[family].constants)
    for name, v in columns.x.items():
        fine = np.isfinite(v) & ((v >= 0) & (v < 1) if name == "sparsity" else v > 0)
        if not fine.all():
            at = int(np.flatnonzero(~fine)[0])
            span = "from 0 to below 1" if name == "sparsity" else "finite and above 0"
            raise ForescaleError(f"{name} must be {span}; run {at + 1} has {v[at]:g}: correct it or remove it.")
    if len(columns.loss) <= need:
        raise ForescaleError(
            f"the {family} law has {need} constants and needs more runs than that; got {len(columns.loss)}."
        )
    if (lowest := float(columns.loss.min())) > UNTRAINED:
        raise ForescaleError(
            f"the lowest loss in {columns.source} is {lowest:.3g} nats per token, about that of guessing: every run diverged "
            "or learnt nothing, or the column is no loss per token."
        )
    for name, v in columns.x.items():
        if v.max() - v.min() <= SAME * v.max():
            raise ForescaleError(
                f"{name} is {v[0]:.4g} in every run: the {family} law cannot tell how loss depends on it; add runs at "
                "another."
            )
    if columns.loss.max() == columns.loss.min():
        raise ForescaleError("every run has the same loss: there is nothing to fit.")
    if family == "repeated" and not (columns.x["tokens"] > columns.x["unique_tokens"]).any():
        raise ForescaleError("no run repeats its tokens (tokens above unique_tokens): fit the additive law instead.")
