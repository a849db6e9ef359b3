"""The search as a sampler of Optuna, and so of everything that takes one (Ray Tune's OptunaSearch, for instance)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from forescale.errors import ForescaleError, MissingExtraError
from forescale.sweep.search._choice import next_setting
from forescale.sweep.search._search import Best, Run, best_of, checked, seen_of
from forescale.sweep.search._space import AXES, Axis, axis, axis_of_values, space_of
from forescale.sweep.search._start import Start, start_of

try:
    from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
    from optuna.samplers import BaseSampler, TPESampler
    from optuna.search_space import intersection_search_space
    from optuna.study import Study, StudyDirection
    from optuna.trial import FrozenTrial, TrialState
except ImportError as error:
    raise MissingExtraError("ForescaleSampler needs Optuna: pip install 'forescale[sweep]'.") from error

if TYPE_CHECKING:
    from forescale.fit.calibrate import Calibration
    from forescale.laws import Law
    from forescale.runs import Runs
    from forescale.workload import Workload

UNKNOWN = 2.0  # octaves (sd) that a setting which the study neither searches nor states is from its best value
MOST_VALUES = 1000  # of a stepped parameter, up to which each is a candidate of its own


class ForescaleSampler(BaseSampler):
    """Samples `learning_rate` and `batch_tokens` of a study that minimises the loss (nats per token) of one workload.

    `prior` is a `Law`, a `Calibration`, `Runs` or None, the published prior. A study may search only one of the two: `fixed`
    says what the other is (`{"batch_tokens": 2**19}`); unsaid, it is unknown. Floats, integers, steps and lists of numbers
    are all read on a logarithmic scale. Every other parameter (weight decay, say) is left to `others`, by default Optuna's
    `TPESampler`. The sampler keeps nothing: it reads the study's trials each time, so studies resume from any storage.

    Trials that run count as runs whose loss is not known yet. An infinite loss is a run that diverged, and so is a trial
    that failed or was pruned after reporting NaN or infinity. A trial that failed otherwise may have (Optuna fails a trial
    that returns NaN, and keeps no reason). A pruned trial was worse than the best: its last loss is not read, since it is
    not a final one. In a study of several objectives `objective` is the number of the loss. Raises `ForescaleError` where
    that is maximised, or where a loss is not above 0.
    """

    def __init__(
        self,
        workload: Workload,
        prior: Law | Calibration | Runs | None = None,
        *,
        fixed: Mapping[str, float] | None = None,
        others: BaseSampler | None = None,
        objective: int = 0,
        seed: int = 0,
    ) -> None:
        if unknown := set(fixed or {}) - set(AXES):
            raise ForescaleError(f"fixed may hold {' or '.join(AXES)}; got {', '.join(sorted(unknown))}.")
        self._start = start_of(workload, prior)
        self._fixed = {name: axis(name, value, value).low for name, value in (fixed or {}).items()}
        self._others = TPESampler(seed=seed) if others is None else others
        self._objective = objective
        self._seed = seed

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Refuse a study that this sampler is not for."""
        if not self._objective < len(study.directions):
            raise ForescaleError(f"objective {self._objective} is not one of the study's {len(study.directions)}.")
        if study.directions[self._objective] == StudyDirection.MAXIMIZE:
            raise ForescaleError("ForescaleSampler minimises a loss; this study maximises: return the loss itself.")
        self._others.before_trial(study, trial)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """For the sampler of the other parameters."""
        self._others.after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        """For the sampler of the other parameters: the own draws depend on the trial's number already."""
        self._others.reseed_rng()

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Learning rate and batch, once a trial has had them; with what the other sampler takes."""
        common = intersection_search_space(study.get_trials(deepcopy=False), include_pruned=True)
        own = {name: common[name] for name in AXES if name in common}
        rest = self._others.infer_relative_search_space(study, trial)
        return own | {name: d for name, d in rest.items() if name not in AXES}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The next setting, and the other sampler's values."""
        own = {name: d for name, d in search_space.items() if name in AXES}
        rest = {name: d for name, d in search_space.items() if name not in AXES}
        found = self._others.sample_relative(study, trial, rest) if rest else {}
        return {**found, **(self._sample(study, trial, own, self._unknown(own)) if own else {})}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A parameter that no trial has had yet; one of the own two by what this trial has of them already."""
        if param_name not in AXES:
            return self._others.sample_independent(study, trial, param_name, param_distribution)
        return self._sample(study, trial, {param_name: param_distribution}, {})[param_name]

    @property
    def middle(self) -> dict[str, float]:
        """The prior's estimate of the best learning rate and batch."""
        return dict(zip(AXES, (math.exp(value) for value in self._start.mean.tolist()), strict=True))

    def best(self, study: Study) -> Best:
        """The setting to use after the study's trials, run or not, and where the optimum is.

        Raises `ForescaleError` for a study whose trials have neither parameter.
        """
        common = intersection_search_space(study.get_trials(deepcopy=False), include_pruned=True)
        searched = {name: common[name] for name in AXES if name in common}
        if not searched:
            raise ForescaleError(f"no finished trial of this study has {' or '.join(AXES)}: run one first.")
        start, space = self._problem(searched, self._unknown(searched), {})
        return best_of(self._runs(study.get_trials(deepcopy=False)), start, space, self._seed)

    def _sample(
        self, study: Study, trial: FrozenTrial, wanted: Mapping[str, BaseDistribution], unknown: Mapping[str, float]
    ) -> dict[str, Any]:
        """Values of the wanted ones; another one is what the trial has, what is fixed, unknown, or still to come."""
        start, space = self._problem(wanted, unknown, trial.params)
        runs = self._runs(t for t in study.get_trials(deepcopy=False) if t.number != trial.number)
        found = next_setting(start, space, seen_of(runs, start), (self._seed, trial.number))
        return {name: _external(distribution, getattr(found, name)) for name, distribution in wanted.items()}

    def _problem(
        self, wanted: Mapping[str, BaseDistribution], unknown: Mapping[str, float], params: Mapping[str, Any]
    ) -> tuple[Start, list[Axis]]:
        """What is known before, and where to look."""
        start = _widened(self._start, unknown)
        has = {n: float(v) for n, v in {**unknown, **self._fixed, **params}.items() if n in AXES}
        around = space_of(start, {n: (v, v) for n, v in has.items()})
        return start, [_axis(n, wanted[n]) if n in wanted else each for n, each in zip(AXES, around, strict=True)]

    def _unknown(self, searched: Mapping[str, Any]) -> dict[str, float]:
        """What is neither searched nor said, at the value where it would be best."""
        return {n: v for n, v in self.middle.items() if n not in searched and n not in self._fixed}

    def _runs(self, trials: Iterable[FrozenTrial]) -> list[Run]:
        return [run for trial in trials if (run := self._run(trial)) is not None]

    def _run(self, trial: FrozenTrial) -> Run | None:
        """What a trial says: None where it says nothing."""
        if not any(name in trial.params for name in AXES):
            return None
        values = {**self.middle, **self._fixed, **trial.params}
        rate, batch = (float(values[name]) for name in AXES)
        run = Run(learning_rate=rate, batch_tokens=batch, loss=None)
        if trial.state in (TrialState.RUNNING, TrialState.WAITING):
            return run
        if trial.state == TrialState.COMPLETE:
            return checked(replace(run, loss=trial.values[self._objective]))
        if _diverged(trial):
            return replace(run, loss=math.inf)
        pruned = trial.state == TrialState.PRUNED
        return replace(run, loss=math.inf, dominated=pruned, failed=not pruned)


def _diverged(trial: FrozenTrial) -> bool:
    """Whether the last loss that a trial reported is not finite."""
    step = trial.last_step
    return step is not None and not math.isfinite(trial.intermediate_values[step])


def _widened(start: Start, unknown: Iterable[str]) -> Start:
    """The start where these have a value that is not known, so that it may be far from their best."""
    covariance = start.covariance.copy()
    for i in map(AXES.index, unknown):
        covariance[i, i] += UNKNOWN**2
    return replace(start, covariance=covariance)


def _axis(name: str, distribution: BaseDistribution) -> Axis:
    """The values that a distribution allows; a step too fine to list is rounded to at the end."""
    if isinstance(distribution, CategoricalDistribution):
        return axis_of_values(name, distribution.choices)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high, step = distribution.low, distribution.high, distribution.step
    if step is None or (high - low) / step > MOST_VALUES:
        return axis(name, low, high)
    return axis_of_values(name, [low + i * step for i in range(round((high - low) / step) + 1)])


def _external(distribution: BaseDistribution, value: float) -> Any:
    """A value as the study's own type."""
    if isinstance(distribution, CategoricalDistribution):
        return min((c for c in distribution.choices if isinstance(c, int | float)), key=lambda c: abs(c - value))
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, step = distribution.low, distribution.step
    stepped = value if step is None else low + round((value - low) / step) * step
    inside = min(max(stepped, low), distribution.high)
    return round(inside) if isinstance(distribution, IntDistribution) else inside
