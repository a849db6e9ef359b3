"""Optuna's samplers for the trade-off, our search for the learning rate and batch of whatever they propose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from forescale.errors import ForescaleError, MissingExtraError
from forescale.fit.calibrate import Calibration, calibrate
from forescale.laws import Law
from forescale.runs import Runs
from forescale.sweep.pareto._trials import Key, WorkloadOf, asked_workload, key_of, runs_of, together
from forescale.sweep.search._space import AXES

try:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler, TPESampler
    from optuna.study import Study, StudyDirection
    from optuna.trial import FrozenTrial, TrialState
except ImportError as error:
    raise MissingExtraError("a search for a front needs Optuna: pip install 'forescale[sweep]'.") from error

from forescale.sweep.search import Best, ForescaleSampler


class ParetoSampler(BaseSampler):
    """Samples a study of several objectives, one of which is the loss (number `objective`, minimised, nats per token).

    `rest`, any sampler of Optuna that takes several objectives (default `TPESampler`), chooses all parameters but
    `learning_rate` and `batch_tokens`. Those two are `ForescaleSampler`'s for the trial's own workload:
    `workload_of(params)` makes it from the parameters suggested before, so they come last, the batch before the rate.
    Trials that differ in nothing else are runs of one search; those of all others calibrate its prior, where they show an
    optimum (two settings of one workload, or a run that diverged). `prior` is what is known beside them: `Runs`, or a
    `Law` or `Calibration`, which then stays as it is. `fixed` says what a study does not search. The sampler keeps nothing
    that the study does not have, so that studies resume from any storage.
    """

    def __init__(
        self,
        workload_of: WorkloadOf,
        rest: BaseSampler | None = None,
        *,
        prior: Law | Calibration | Runs | None = None,
        fixed: Mapping[str, float] | None = None,
        objective: int = 0,
        seed: int = 0,
    ) -> None:
        known: Any = prior
        if not isinstance(known, Law | Calibration | Runs | None):
            raise ForescaleError(f"a prior is a Law, a Calibration, Runs or None; got {type(known).__name__}.")
        self.workload_of = workload_of
        self.objective = objective
        self.fixed = dict(fixed or {})
        self._rest = TPESampler(seed=seed) if rest is None else rest
        self._prior = prior
        self._seed = seed
        self._calibrated: tuple[object, Calibration | None] = (None, None)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Refuse a study that this sampler is not for."""
        if not self.objective < len(study.directions):
            raise ForescaleError(f"objective {self.objective} is not one of the study's {len(study.directions)}.")
        if study.directions[self.objective] == StudyDirection.MAXIMIZE:
            raise ForescaleError("ParetoSampler minimises a loss; this study maximises it: return the loss itself.")
        self._rest.before_trial(study, trial)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """For the sampler of the rest."""
        self._rest.after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        """For the sampler of the rest: the search's draws depend on the trial's number already."""
        self._rest.reseed_rng()

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Of the rest alone: learning rate and batch wait until the workload is known."""
        space = self._rest.infer_relative_search_space(study, trial)
        return {name: d for name, d in space.items() if name not in AXES}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The rest's."""
        return self._rest.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Learning rate or batch for what the trial has by now; another parameter by the rest."""
        if param_name not in AXES:
            return self._rest.sample_independent(study, trial, param_name, param_distribution)
        own, alike = self._search(study, trial.params)
        return own.sample_independent(alike, trial, param_name, param_distribution)

    def best(self, study: Study, params: Mapping[str, Any]) -> Best:
        """The learning rate and batch to use with these parameters of the rest, after the study's trials."""
        own, alike = self._search(study, params)
        return own.best(alike)

    def _search(self, study: Study, params: Mapping[str, Any]) -> tuple[ForescaleSampler, Study]:
        """The search of a workload's learning rate and batch, and the part of the study that it reads."""
        key = key_of(params)
        own = ForescaleSampler(
            asked_workload(self.workload_of, params),
            self._prior_of(study, key),
            fixed=self.fixed,
            others=self._rest,
            objective=self.objective,
            seed=self._seed,
        )
        alike = [t for t in study.get_trials(deepcopy=False) if key_of(t.params) == key]
        return own, cast("Study", _Alike(alike))

    def _prior_of(self, study: Study, key: Key) -> Law | Calibration | None:
        """What the trials of other keys, and the prior that was given, say; None: the published one."""
        given = self._prior
        if isinstance(given, Law | Calibration):
            return given
        finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        others = [t for t in finished if key_of(t.params) != key]
        return self._calibration(runs_of(others, self.workload_of, self.objective, self.fixed), given)

    def _calibration(self, ours: Runs | None, given: Runs | None) -> Calibration | None:
        runs = together(ours, given)
        seen = None if runs is None else runs.frame.rows()
        if self._calibrated[0] != seen:
            self._calibrated = (seen, None if runs is None else calibrate(runs, scored=False))
        return self._calibrated[1]


class _Alike:
    """The part of a study that a search reads: its trials, here those of one workload."""

    def __init__(self, trials: list[FrozenTrial]) -> None:
        self._trials = trials

    def get_trials(self, deepcopy: bool = True, states: object = None) -> list[FrozenTrial]:
        del deepcopy, states
        return self._trials
