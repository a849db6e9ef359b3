"""A study of two objectives: opened or gone on with, its trials made one after another, and its front."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from forescale.errors import ForescaleError, MissingExtraError
from forescale.sweep.pareto._front import Front, make_front
from forescale.sweep.pareto._points import Metric, Point
from forescale.sweep.pareto._sampler import ParetoSampler
from forescale.sweep.pareto._trials import grouped
from forescale.sweep.search._space import AXES

try:
    from optuna import create_study, logging
    from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
    from optuna.study import Study
    from optuna.trial import FrozenTrial, Trial, TrialState
except ImportError as error:
    raise MissingExtraError("a search for a front needs Optuna: pip install 'forescale[sweep]'.") from error

Settings = Mapping[str, Any]
# Of settings the loss, infinite where it diverged, and the second metric's value.
Make = Callable[[dict[str, Any]], tuple[float, float]]
Space = Mapping[str, BaseDistribution | Sequence[Any]]
MOST_FAILURES = 20  # in a row


def open_study(
    metric: Metric, sampler: ParetoSampler, *, storage: str | Any | None = None, name: str = "pareto"
) -> Study:
    """Optuna's study of (loss, metric), or the one of this name that is in `storage`, to go on with.

    `storage` is an SQLAlchemy URL or a storage of Optuna; None is memory alone. Raises `ForescaleError` for a stored study
    of other objectives.
    """
    before = logging.get_verbosity()
    logging.set_verbosity(logging.WARNING)
    try:
        directions: Any = ("minimize", metric.direction)
        study = create_study(
            directions=directions, sampler=sampler, storage=storage, study_name=name, load_if_exists=True
        )
    finally:
        logging.set_verbosity(before)
    known = study.user_attrs.get("metric")
    if known not in (None, vars(metric)):
        raise ForescaleError(f"the study {name} is of {known['name']}; asked for {metric.name}: choose another name.")
    study.set_user_attr("metric", dict(vars(metric)))
    return study


def explore(
    study: Study,
    make: Make,
    space: Space,
    *,
    trials: int,
    first: Sequence[Settings] = (),
    say: Callable[[str], None] | None = None,
) -> None:
    """Make trials until `trials` of the study are finished, those it had before included.

    `space` maps each parameter to a distribution of Optuna, or to the list of its values. A new study begins with the
    settings of `first`, which may leave parameters open: the same shape a few times is a sweep of its learning rate, from
    which all others learn. `make` and the sampler's `workload_of` may raise `ForescaleError` for settings that cannot be:
    `say` hears why, and the next ones are tried; it is raised after 20 in a row. A trial that an interrupted process left
    running is made anew with the same settings; so one process at a time, and a `make` that resumes loses nothing.
    """
    tell = say or _silent
    distributions = _ordered(space)
    _go_on(study, first)
    failures = 0
    while len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))) < trials:
        trial = study.ask()
        try:
            loss, value = _made(make, {name: _suggest(trial, name, among) for name, among in distributions.items()})
        except ForescaleError as error:
            study.tell(trial, state=TrialState.FAIL)
            tell(f"trial {trial.number} is not possible: {error}")
            failures += 1
            if failures == MOST_FAILURES:
                raise ForescaleError(
                    f"{failures} settings in a row are not possible, the last one since {error}"
                ) from error
            continue
        failures = 0
        study.tell(trial, [loss, value])
        tell(f"trial {trial.number}: loss {loss:.4f}, {value:.4g}, {_said(trial.params)}")


def _made(make: Make, settings: dict[str, Any]) -> tuple[float, float]:
    """Loss, infinite where it is NaN, and value."""
    loss, value = make(settings)
    if loss <= 0 or math.isnan(value):
        raise ForescaleError(
            f"a trial needs a loss above 0 (nats per token) and a metric's value; got {loss:g}, {value:g}."
        )
    return (math.inf if math.isnan(loss) else loss), value


def _suggest(trial: Trial, name: str, among: BaseDistribution) -> Any:
    if isinstance(among, CategoricalDistribution):
        return trial.suggest_categorical(name, among.choices)
    if isinstance(among, IntDistribution):
        return trial.suggest_int(name, among.low, among.high, step=among.step, log=among.log)
    assert isinstance(among, FloatDistribution)
    return trial.suggest_float(name, among.low, among.high, step=among.step, log=among.log)


def front_of(study: Study, metric: Metric, **options: Any) -> Front:
    """The front of a study's finished trials; `options` are those of `make_front`.

    With a `ParetoSampler`, the lowest loss of each workload is known to be above its best by the gap that is left to expect.
    """
    groups = grouped(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))
    return make_front([p for group in groups.values() for p in _points(study, group)], metric, **options)


def _points(study: Study, trials: Sequence[FrozenTrial]) -> list[Point]:
    lowest = min(trials, key=lambda t: t.values[0])
    gap = _gap(study, lowest)
    return [
        Point(settings=t.params, loss=t.values[0], value=t.values[1], loss_gap=gap if t is lowest else 0.0)
        for t in trials
    ]


def _gap(study: Study, trial: FrozenTrial) -> float:
    searched = any(name in trial.params for name in AXES) and math.isfinite(trial.values[0])
    if not (searched and isinstance(study.sampler, ParetoSampler)):
        return 0.0
    return study.sampler.best(study, trial.params).loss_gap


def _ordered(space: Space) -> dict[str, BaseDistribution]:
    """Learning rate and batch last, for they depend on the rest."""
    last = [name for name in reversed(AXES) if name in space]
    return {name: _distribution(name, space[name]) for name in (*(n for n in space if n not in AXES), *last)}


def _distribution(name: str, given: BaseDistribution | Sequence[Any]) -> BaseDistribution:
    if isinstance(given, CategoricalDistribution | FloatDistribution | IntDistribution):
        return given
    if isinstance(given, str) or not isinstance(given, Sequence) or not given:
        raise ForescaleError(
            f"the space of {name} must be a distribution of Optuna or a list of values; got {given!r}."
        )
    return CategoricalDistribution(list(given))


def _go_on(study: Study, first: Sequence[Settings]) -> None:
    """Plan the first settings of a new study, or again what an interrupted one was at."""
    known = study.get_trials(deepcopy=False)
    if not known:
        for settings in first:
            study.enqueue_trial(dict(settings))
    for trial in known:
        if trial.state == TrialState.RUNNING:
            study.enqueue_trial(trial.params)
            study.tell(trial.number, state=TrialState.FAIL)


def _said(params: Settings) -> str:
    return ", ".join(
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}" for name, value in params.items()
    )


def _silent(_text: str) -> None:
    return
