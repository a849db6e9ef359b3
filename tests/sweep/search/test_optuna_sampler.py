"""The sampler in Optuna's own studies: every kind of parameter, of trial and of storage."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from forescale.errors import ForescaleError
from forescale.laws import law
from forescale.sweep.search import ForescaleSampler
from forescale.workload import Workload

WORKLOAD = Workload(params=2e8, tokens=1e10, seq_len=2048)
STEP_LAW = law("step-law")  # its optimum at the workload: 1.79 N^-0.713 D^0.307, 0.58 D^0.571
RATE, BATCH = 1.79 * 2e8**-0.713 * 1e10**0.307, 0.58 * 1e10**0.571
Objective = Callable[[optuna.Trial], float]


@pytest.fixture(autouse=True)
def quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def bowl(rate: float, batch: float) -> float:
    return 3 * math.exp(0.004 * (math.log2(rate / RATE) ** 2 + math.log2(batch / BATCH) ** 2))


def objective(trial: optuna.Trial) -> float:
    rate = trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True)
    return bowl(rate, trial.suggest_float("batch_tokens", 2.0**15, 2.0**21, log=True))


def sampler(**more: Any) -> ForescaleSampler:
    return ForescaleSampler(workload=WORKLOAD, prior=STEP_LAW, **more)


def test_a_study_finds_the_optimum_and_says_where_it_is() -> None:
    mine = sampler()
    study = optuna.create_study(sampler=mine)
    study.optimize(objective, n_trials=10)
    best = mine.best(study)
    assert bowl(best.learning_rate, best.batch_tokens) < 3 * 1.0025
    assert best.lowest is not None
    assert best.lowest.loss == study.best_value


def test_the_first_trial_is_the_prior_choice_though_its_parameters_come_one_by_one() -> None:
    study = optuna.create_study(sampler=sampler())
    study.optimize(objective, n_trials=1)
    assert 0.4 * RATE < study.trials[0].params["learning_rate"] < 1.1 * RATE  # below: too high costs more
    assert 0.4 * BATCH < study.trials[0].params["batch_tokens"] < 1.6 * BATCH


def test_ask_and_tell_at_once_sees_the_running_trials() -> None:
    study = optuna.create_study(sampler=sampler())
    study.optimize(objective, n_trials=2)
    space = dict(study.trials[0].distributions)
    asked = [study.ask(space) for _ in range(5)]
    rates = sorted(math.log2(t.params["learning_rate"]) for t in asked)
    points = {(t.params["learning_rate"], t.params["batch_tokens"]) for t in asked}
    assert len(points) == 5
    assert rates[-1] - rates[0] > 0.1
    for trial in asked:
        study.tell(
            trial, bowl(**{k: trial.params[n] for k, n in (("rate", "learning_rate"), ("batch", "batch_tokens"))})
        )


def test_threads_share_a_study() -> None:
    study = optuna.create_study(sampler=sampler())
    study.optimize(objective, n_trials=8, n_jobs=2)
    assert len({t.params["learning_rate"] for t in study.trials}) == 8
    assert study.best_value < 3 * 1.005


def test_a_study_resumes_from_storage_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    for _ in range(2):
        study = optuna.create_study(storage=storage, study_name="s", load_if_exists=True, sampler=sampler())
        study.optimize(objective, n_trials=2)
    at_once = optuna.create_study(sampler=sampler())
    at_once.optimize(objective, n_trials=4)
    assert [t.params for t in study.trials] == [t.params for t in at_once.trials]


def test_a_sampler_is_pickled_with_what_it_knows() -> None:
    # Ray Tune's OptunaSearch saves its searcher by pickle, and asks with the study's distributions.
    found = []
    for each in (sampler(seed=3), pickle.loads(pickle.dumps(sampler(seed=3)))):
        study = optuna.create_study(sampler=each)
        study.optimize(objective, n_trials=3)
        found.append([t.params for t in study.trials])
    assert found[0] == found[1]


def test_other_parameters_go_to_another_sampler() -> None:
    seen: list[str] = []

    class Noting(optuna.samplers.RandomSampler):
        def sample_independent(self, study: Any, trial: Any, param_name: str, param_distribution: Any) -> Any:
            seen.append(param_name)
            return super().sample_independent(study, trial, param_name, param_distribution)

    def more(trial: optuna.Trial) -> float:
        trial.suggest_float("weight_decay", 0.01, 0.3, log=True)
        return objective(trial)

    for others in (Noting(seed=1), None, optuna.samplers.TPESampler(multivariate=True, n_startup_trials=1)):
        study = optuna.create_study(sampler=sampler(others=others))
        study.optimize(more, n_trials=4)
        assert len({t.params["weight_decay"] for t in study.trials}) == 4
    assert seen == ["weight_decay"] * 4


@pytest.mark.parametrize(
    ("suggest", "allowed"),
    [
        (lambda t: t.suggest_int("batch_tokens", 2**16, 2**20, log=True), lambda b: isinstance(b, int)),
        (lambda t: t.suggest_int("batch_tokens", 2048, 2048 * 500, step=2048), lambda b: b % 2048 == 0),
        (lambda t: t.suggest_int("batch_tokens", 512, 512 * 4000, step=512), lambda b: b % 512 == 0),
        (lambda t: t.suggest_categorical("batch_tokens", [2**17, 2**18, 2**19]), lambda b: b in (2**17, 2**18, 2**19)),
        (lambda t: t.suggest_float("batch_tokens", 1e5, 9e5, step=1e5), lambda b: b % 1e5 == 0),
        (lambda t: t.suggest_float("batch_tokens", 2e5, 2e5), lambda b: b == 2e5),
    ],
    ids=["int", "step", "fine step", "categorical", "float step", "a single value"],
)
def test_every_kind_of_parameter_keeps_to_its_values(
    suggest: Callable[[Any], Any], allowed: Callable[[Any], bool]
) -> None:
    def kinds(trial: optuna.Trial) -> float:
        rate = trial.suggest_float("learning_rate", 1e-4, 1e-2)  # linear: read on a logarithmic scale all the same
        return bowl(rate, suggest(trial))

    study = optuna.create_study(sampler=sampler())
    study.optimize(kinds, n_trials=4)
    assert all(allowed(t.params["batch_tokens"]) for t in study.trials)


def test_a_grid_is_not_asked_for_the_same_setting_twice_before_it_is_through() -> None:
    def grid(trial: optuna.Trial) -> float:
        rate = trial.suggest_categorical("learning_rate", [5e-4, 1e-3, 2e-3])
        return bowl(rate, trial.suggest_categorical("batch_tokens", [2**18, 2**19]))

    study = optuna.create_study(sampler=sampler())
    study.optimize(grid, n_trials=7)
    settings = [tuple(t.params.values()) for t in study.trials]
    assert len(set(settings[1:6])) == 5  # the first two parameters came one by one
    assert len(set(settings)) == 6


@pytest.mark.parametrize("fixed", [{"batch_tokens": BATCH}, None], ids=["said", "unsaid"])
def test_a_study_of_the_rate_alone(fixed: dict[str, float] | None) -> None:
    mine = sampler(fixed=fixed)
    study = optuna.create_study(sampler=mine)
    study.optimize(lambda t: bowl(t.suggest_float("learning_rate", 1e-4, 1e-2, log=True) / 1.5, BATCH), n_trials=8)
    assert study.best_value < 3 * 1.0025
    assert mine.best(study).batch_tokens == pytest.approx(BATCH)


def test_a_study_of_the_batch_alone() -> None:
    study = optuna.create_study(sampler=sampler(fixed={"learning_rate": RATE}))
    study.optimize(lambda t: bowl(RATE, t.suggest_float("batch_tokens", 2**15, 2**21, log=True)), n_trials=8)
    assert study.best_value < 3 * 1.0025


@pytest.mark.parametrize("how", ["infinite", "pruned with infinity", "failed with nan", "returned nan, thrice"])
@pytest.mark.filterwarnings("ignore:The value nan")
def test_a_diverged_trial_moves_the_optimum_down(how: str) -> None:
    def diverge(study: optuna.Study, trial: optuna.Trial) -> None:
        if how == "infinite":
            study.tell(trial, math.inf)
        elif how == "returned nan, thrice":
            study.tell(trial, math.nan)
        else:
            trial.report(math.inf if how.startswith("pruned") else math.nan, 10)
            study.tell(trial, state=TrialState.PRUNED if how.startswith("pruned") else TrialState.FAIL)

    answers = []
    for times in (0, 3 if how.endswith("thrice") else 1):
        mine = sampler()
        study = optuna.create_study(sampler=mine)
        study.enqueue_trial({"learning_rate": RATE / 4, "batch_tokens": BATCH})
        study.optimize(objective, n_trials=1)
        for i in range(times):
            study.enqueue_trial({"learning_rate": RATE * 1.1**i, "batch_tokens": BATCH})
            diverge(study, study.ask(study.trials[0].distributions))
        answers.append(mine.best(study).learning_rate_interval)
    assert answers[1][1] < answers[0][1]


def test_a_pruned_trial_counts_as_worse_and_a_crashed_one_for_little() -> None:
    answers = {}
    for state in (None, TrialState.FAIL, TrialState.PRUNED):
        mine = sampler()
        study = optuna.create_study(sampler=mine)
        study.enqueue_trial({"learning_rate": RATE / 2, "batch_tokens": BATCH})
        study.optimize(objective, n_trials=1)
        if state is not None:
            study.enqueue_trial({"learning_rate": 2 * RATE, "batch_tokens": BATCH})
            trial = study.ask(study.trials[0].distributions)
            trial.report(2.5, 1)  # lower than any loss: not a final one, so not read
            study.tell(trial, state=state)
        answers[state] = mine.best(study)
    lowest = {state: best.lowest.loss for state, best in answers.items() if best.lowest is not None}
    assert set(lowest.values()) == {study.trials[0].value}
    assert answers[TrialState.PRUNED].learning_rate_interval[1] < answers[None].learning_rate_interval[1]
    assert "1 failed" in answers[TrialState.FAIL].reason


def test_a_study_that_maximises_is_refused() -> None:
    study = optuna.create_study(direction="maximize", sampler=sampler())
    with pytest.raises(ForescaleError, match="minimises a loss"):
        study.optimize(objective, n_trials=1)


def test_a_loss_that_is_none_is_refused() -> None:
    study = optuna.create_study(sampler=sampler())
    with pytest.raises(ForescaleError, match="above 0"):
        study.optimize(lambda t: -objective(t), n_trials=2)


def test_two_objectives_of_which_one_is_the_loss() -> None:
    def both(trial: optuna.Trial) -> tuple[float, float]:
        return trial.suggest_int("layers", 1, 8), objective(trial)

    others = optuna.samplers.NSGAIISampler(population_size=4, seed=0)
    study = optuna.create_study(directions=["minimize", "minimize"], sampler=sampler(objective=1, others=others))
    study.optimize(both, n_trials=8)
    assert min(t.values[1] for t in study.trials) < 3 * 1.005
    assert len({t.params["layers"] for t in study.trials}) > 1
    wrong = optuna.create_study(directions=["minimize", "minimize"], sampler=sampler(objective=2))
    with pytest.raises(ForescaleError, match="objective 2"):
        wrong.optimize(both, n_trials=1)


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ForescaleError, match="fixed may hold"):
        sampler(fixed={"batch": 1e5})
    with pytest.raises(ForescaleError, match="run one first"):
        sampler().best(optuna.create_study())
    study = optuna.create_study(sampler=sampler())
    with pytest.raises(ForescaleError, match="finite numbers above 0"):
        study.optimize(lambda t: float(t.suggest_categorical("learning_rate", ["low", "high"]) == "low"), n_trials=1)
