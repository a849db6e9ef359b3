"""Fit a loss law to runs: optimum, intervals, spread and held-out extrapolation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import isfinite
from typing import TYPE_CHECKING, Any, Literal

from forescale.errors import ForescaleError
from forescale.fit.loss._columns import LossColumns, family_name, loss_columns
from forescale.fit.loss._families import make_form
from forescale.fit.loss._fit import Extrapolation, LossFit, Optimum, Parameter
from forescale.fit.loss._forms import Form
from forescale.fit.loss._robust import minimise
from forescale.fit.loss._search import Found, condition, near_equal, search
from forescale.laws import Formula, Law, Source
from forescale.laws._families import FAMILIES
from forescale.laws._load import WIDEST
from forescale.runs import Runs

if TYPE_CHECKING:
    from forescale.fit.loss._robust import Array

DRAW_ROUNDS, DRAW_TOLERANCE = 100, 1e-9  # of the resamples: far below their own scatter
HELD_OUT = 0.2  # share of the runs, the most expensive ones, held out for the extrapolation
VAGUE = 2.0  # an exponent that may move by this factor at no cost is badly identified
SINGULAR = 1e12
STEEPEST = 20.0  # an exponent beyond describes one run, not a law
OUTLIER = 0.1  # of the loss: no trained run is as far off a law that fits the others
EXPONENTS = ("alpha", "beta", "gamma", "eta", "alpha_N", "alpha_D", "b_N", "b_D")


def fit_loss_law(
    runs: Runs | Mapping[str, Any],
    family: str,
    *,
    delta: float = 1e-3,
    bootstraps: int = 1000,
    groups: Any = None,
    seed: int = 0,
    on: Literal["log", "loss"] = "log",
) -> LossFit:
    """Fit a family of loss law by Huber's loss on the log loss (`on` "loss": on the loss itself), threshold `delta`.

    `runs` is a table of runs or columns by name (params, tokens, loss in nats per token; what else the family needs:
    active_params, sparsity and nonzero_params, unique_tokens, compute in FLOPs). Families: additive (chinchilla),
    skaling, farseer, kaplan, over-training (gadre), sparse (frantar), repeated (muennighoff), experts (moe). The
    bootstrap resamples `groups` of runs (one label a run, or a column; None: every run by itself).
    Raises `ForescaleError` for fewer runs than constants, an input that never changes, or losses that are no losses.
    """
    name = family_name(family)
    return fit_columns(loss_columns(runs, name, groups), name, delta=delta, bootstraps=bootstraps, seed=seed, on=on)


def fit_columns(
    columns: LossColumns, name: str, *, delta: float, bootstraps: int, seed: int, on: Literal["log", "loss"] = "log"
) -> LossFit:
    """The same for columns that were checked."""
    import numpy as np

    _check_settings(delta, bootstraps, on)
    form = make_form(name, columns.x, columns.loss, raw=on == "loss")
    y = columns.loss if on == "loss" else np.log(columns.loss)
    found = search(form, y, delta)
    draws = _bootstrap(form, y, found.theta, columns.groups, delta, bootstraps, seed)
    near, scores = near_equal(form, y, found, delta)
    spread = {k: (float(v.min()), float(v.max())) for k, v in _table(form, near).items()}
    extrapolation, reason = _extrapolate(columns, name, delta, raw=on == "loss")
    constants = {k: float(v[0]) for k, v in _table(form, found.theta[None]).items()}
    covariance_of, covariance = _covariance(form, constants, draws)
    with np.errstate(all="ignore"):
        residuals = _log_ratio(FAMILIES[name].evaluate(constants, {}, columns.x), columns.loss)
    _refuse_unbounded(name, constants, residuals, columns.source)
    warnings = [*_warnings(form, y, found, columns, constants, spread), *_misfits(residuals, columns, constants)]
    if not covariance:
        warnings.append("the constants are too uncertain for a covariance: the law is saved without one")
    return LossFit(
        family=name,
        parameters=_parameters(constants, draws),
        objective=found.objective,
        rms=float(np.sqrt(np.mean(residuals**2))),
        runs=len(y),
        law=_law(name, constants, covariance_of, covariance, columns, delta, on),
        spread=spread,
        near=_optima(form, near, scores),
        optima=_optima(form, np.stack([t for t, _ in found.optima]), [q for _, q in found.optima]),
        extrapolation=extrapolation,
        warnings=(*columns.notes, *warnings, *reason),
        draws=np.stack(list(draws.values()), axis=1),
    )


def _check_settings(delta: float, bootstraps: int, on: str) -> None:
    if not 0 < delta < float("inf"):
        raise ForescaleError(f"delta, Huber's threshold, must be above 0 and finite; got {delta:g}.")
    if bootstraps < 2:
        raise ForescaleError(f"intervals need at least 2 bootstraps; got {bootstraps}.")
    if on not in ("log", "loss"):
        raise ForescaleError(f"on must be 'log' (residuals of the log loss) or 'loss'; got {on!r}.")


def _refuse_unbounded(name: str, constants: Mapping[str, float], residuals: Array, source: str) -> None:
    """A law is numbers: one whose best constants leave a float's range, or a power that does, is none."""
    import numpy as np

    lost = [n for n, v in constants.items() if not isfinite(v) or (n in EXPONENTS and abs(v) > STEEPEST)]
    if lost or not np.isfinite(residuals).all():
        raise ForescaleError(
            f"the runs of {source} do not determine the {name} law: its best constants run off without bound"
            f"{' (' + ', '.join(lost) + ')' if lost else ''}; check the columns, or add runs at other sizes and token counts."
        )


def _table(form: Form, theta: Array) -> dict[str, Array]:
    """The law's constants (R,) each, in the order in which the family names them."""
    import numpy as np

    with np.errstate(all="ignore"):
        made = form.constants(theta)
    return {name: made[name] for name in FAMILIES[form.family].constants}


def _optima(form: Form, theta: Array, objectives: Iterable[float]) -> tuple[Optimum, ...]:
    table = _table(form, theta)
    return tuple(
        Optimum(constants={k: float(v[i]) for k, v in table.items()}, objective=float(q))
        for i, q in enumerate(objectives)
    )


def _bootstrap(
    form: Form, y: Array, theta: Array, groups: Array, delta: float, bootstraps: int, seed: int
) -> dict[str, Array]:
    """The constants of every resample of the groups; those that have no finite value are left out."""
    import numpy as np

    start = np.repeat(theta[None], bootstraps, axis=0)
    counts = resample_counts(groups, bootstraps, seed)
    draws, _ = minimise(form.model, y, start, counts, delta, rounds=DRAW_ROUNDS, tolerance=DRAW_TOLERANCE)
    table = _table(form, draws)
    finite = np.isfinite(np.stack(list(table.values()))).all(axis=0)
    return {name: v[finite] for name, v in table.items()}


def resample_counts(groups: Any, bootstraps: int, seed: int) -> Array:
    """How often each run counts (bootstraps, n), groups being drawn with replacement."""
    return draw_groups(groups, bootstraps, seed)[:, groups]


def draw_groups(groups: Any, bootstraps: int, seed: int) -> Array:
    """How often each group is drawn (bootstraps, groups)."""
    import numpy as np

    number = int(groups.max()) + 1
    rng = np.random.default_rng(seed)
    return rng.multinomial(number, np.full(number, 1 / number), size=bootstraps).astype(float)


def _parameters(constants: Mapping[str, float], draws: Mapping[str, Array]) -> dict[str, Parameter]:
    import numpy as np

    made: dict[str, Parameter] = {}
    for name, value in constants.items():
        low = high = stderr = float("nan")
        if len(draws[name]) > 1:
            low, high = (float(v) for v in np.percentile(draws[name], (10, 90)))
            with np.errstate(over="ignore"):
                stderr = float(draws[name].std(ddof=1))
        made[name] = Parameter(value=value, stderr=stderr, low=low, high=high)
    return made


def _covariance(
    form: Form, constants: Mapping[str, float], draws: Mapping[str, Array]
) -> tuple[tuple[str, ...], tuple[tuple[float, ...], ...]]:
    """Covariance of the draws, of logarithms where a constant is a coefficient; none where the law format forbids it."""
    import numpy as np

    if min(len(v) for v in draws.values()) < 2:
        return (), ()
    logs = [n for n in constants if n in form.positive]
    names = tuple(f"log {n}" if n in logs else n for n in constants)
    with np.errstate(all="ignore"):
        table = np.stack([np.log(draws[n]) if n in logs else draws[n] for n in constants])
        matrix = np.cov(table)
        center = np.array([np.log(v) if n in logs else v for n, v in constants.items()])
    if not np.isfinite(matrix).all() or (np.sqrt(np.diag(matrix)) > WIDEST * np.maximum(np.abs(center), 1.0)).any():
        return (), ()
    return names, tuple(tuple(float(v) for v in row) for row in (matrix + matrix.T) / 2)


def _law(
    family: str,
    constants: Mapping[str, float],
    covariance_of: tuple[str, ...],
    covariance: tuple[tuple[float, ...], ...],
    columns: LossColumns,
    delta: float,
    on: str,
) -> Law:
    formula = Formula(
        quantity="loss",
        family=family,
        constants=constants,
        unit="nats per token",
        evidence="computed",
        covariance_of=covariance_of,
        covariance=covariance,
    )
    ends = {name: (float(v.min()), float(v.max())) for name, v in columns.x.items()}
    what = "log loss" if on == "log" else "loss"
    return Law(
        name=f"fitted-{family}",
        title=f"{family} loss law fitted to {len(columns.loss)} runs of {columns.source}",
        kind="loss",
        predicts={"loss": formula},
        source=Source(paper="own fit", reference=columns.source, place="forescale fit --loss-law", evidence="computed"),
        experts="moe" if family == "experts" else "dense",
        range=ends,
        notes=(f"Huber's loss of the {what}, threshold {delta:g}, over {len(columns.loss)} runs.",),
        fitted_on=columns.source,
        origin="fit",
    )


def _extrapolate(
    columns: LossColumns, family: str, delta: float, *, raw: bool
) -> tuple[Extrapolation | None, tuple[str, ...]]:
    """Fit without the most expensive fifth and predict it, with the best parameters and with those nearly as good."""
    import numpy as np

    cut = np.quantile(columns.compute, 1 - HELD_OUT)
    cheap, dear = np.flatnonzero(columns.compute <= cut), np.flatnonzero(columns.compute > cut)
    part, rest = columns.part(cheap), columns.part(dear)
    settled = all(len(np.unique(v)) > 1 for v in part.x.values())
    if len(dear) == 0 or not settled or len(cheap) < len(FAMILIES[family].constants) + 1:
        return None, ("too few runs at different compute to hold the most expensive ones out",)
    form = make_form(family, part.x, part.loss, raw=raw)
    y = part.loss if raw else np.log(part.loss)
    found = search(form, y, delta)
    vectors, scores = near_equal(form, y, found, delta)  # the best first
    table = _table(form, vectors)
    made: dict[str, Any] = {name: v[:, None] for name, v in table.items()}
    with np.errstate(all="ignore"):  # constants that fit as well may be anything elsewhere
        predicted: Array = FAMILIES[family].evaluate(made, {}, rest.x)
        errors = _log_ratio(predicted, rest.loss)
    if not np.isfinite(errors[0]).all():
        return None, ("fitted to the cheaper runs, the law has no value at the most expensive ones",)
    each = tuple(
        Optimum(
            constants={name: float(v[i]) for name, v in table.items()},
            objective=float(scores[i]),
            bias=float(errors[i].mean()),
            rms=float(np.sqrt((errors[i] ** 2).mean())),
        )
        for i in np.argsort(scores, kind="stable")
        if np.isfinite(errors[i]).all()
    )
    biases = [optimum.bias for optimum in each if optimum.bias is not None]
    return Extrapolation(
        bias=float(errors[0].mean()),
        rms=float(np.sqrt((errors[0] ** 2).mean())),
        bias_low=min(biases),
        bias_high=max(biases),
        held_out=len(dear),
        factor=float(rest.compute.max() / part.compute.max()),
        each=each,
    ), ()


def _warnings(
    form: Form,
    y: Array,
    found: Found,
    columns: LossColumns,
    constants: Mapping[str, float],
    spread: Mapping[str, tuple[float, float]],
) -> list[str]:
    """What the runs do not settle."""
    vague = [
        name for name, (low, high) in spread.items() if name not in (*form.positive, "E", "c") and _wide(low, high)
    ]
    said = list(found.edges)
    if vague:
        said.append(f"badly identified: {', '.join(vague)} can change twofold within 5 % of the objective")
    if condition(form, y, found.theta) > SINGULAR:
        said.append("badly identified: some combination of the constants has no effect on the runs' losses")
    for name in ("E", "c"):
        if 0 <= constants.get(name, 1.0) < 1e-4 * columns.loss.min():
            said.append(f"{name} is at its bound of 0: the runs show no irreducible loss")
    if (groups := int(columns.groups.max()) + 1) < 10:
        said.append(f"only {groups} groups to resample: the intervals are rough")
    return said


def _misfits(residuals: Array, columns: LossColumns, constants: Mapping[str, float]) -> list[str]:
    """What looks wrong with the runs rather than with the law."""
    import numpy as np

    said: list[str] = []
    size, typical = np.abs(residuals), float(np.median(np.abs(residuals)))
    if (far := int((size > max(OUTLIER, 10 * typical)).sum())) and far < len(size) / 2:
        at = int(size.argmax())
        share, worst = 100 * max(OUTLIER, 10 * typical), 100 * np.expm1(size[at])
        said.append(
            f"{far} run{'s lie' if far > 1 else ' lies'} more than {share:.2g} % off the law, one (loss {columns.loss[at]:.4g}) "
            f"by {worst:.3g} %: diverged, unfinished or mislabelled runs look like that"
        )
    logs = np.log(columns.loss)
    if typical > 0.9 * float(np.median(np.abs(logs - np.median(logs)))):
        said.append("the law fits these runs hardly better than one constant loss does")
    if rising := [name for name in EXPONENTS if constants.get(name, 1.0) < 0]:
        said.append(f"the loss rises where it should fall: {', '.join(rising)} below 0; check columns and units")
    return said


def _wide(low: float, high: float) -> bool:
    small, large = sorted((abs(low), abs(high)))
    return low <= 0 <= high or large > VAGUE * small


def _log_ratio(predicted: Array, measured: Array) -> Array:
    import numpy as np

    return np.log(predicted / measured)
