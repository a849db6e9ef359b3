"""Which shapes of one size are worth having: loss against decoding speed, with depth, FFN and key-value heads free.

    python loss_against_decoding.py                  # the sources of Python's standard library, some minutes
    python loss_against_decoding.py --data TEXT --params 1M --tokens 20M --trials 40 --out big

All shapes have the same number of non-vocabulary parameters: the width follows from depth and FFN ratio. Optuna
chooses shapes, forescale the learning rate and batch of each; four settings of one shape come first and calibrate the laws
for all. A loss is the mean of two seeds, which say how noisy it is. It prints a table and writes front.png and front.json
to --out. Stopped, it goes on where it was.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from math import isfinite, log, sqrt
from pathlib import Path
from statistics import fmean, variance
from typing import Any

import torch
from optuna.distributions import FloatDistribution
from optuna.samplers import TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import Study
from optuna.trial import TrialState

import forescale as fs
from forescale.errors import ForescaleError
from forescale.plots import pareto_chart, save
from forescale.quantities import parse_quantity
from forescale.sweep import run_job, train_job
from forescale.sweep.pareto import DECODING_SPEED, Front, ParetoSampler, decoding_speed, explore, front_of, open_study
from forescale.train import TrainConfig, build_model, plan_run

VOCAB, SEQ_LEN, HEAD = 256, 128, 8  # bytes; channels of a head
FIRST = {"depth": 3, "ffn_ratio": 3.0, "shared_kv": False}  # swept over its learning rate before all others
SPACE = {
    "depth": [1, 2, 3, 4, 6, 8],
    "ffn_ratio": [1.5, 3.0, 6.0],  # about; the width follows
    "shared_kv": [False, True],  # one key-value head for all, or one a head
    "batch_tokens": [n * SEQ_LEN for n in (4, 8, 16, 32)],
    "learning_rate": FloatDistribution(5e-4, 0.05, log=True),
}


def shape_of(params: float, settings: Mapping[str, Any]) -> fs.Shape:
    """The shape of about this FFN ratio, whose FFN then has the width that brings it to `params`."""
    depth, ratio, shared = (settings[name] for name in FIRST)
    width = max(1, round((params / depth / (4 + 3 * ratio)) ** 0.5 / HEAD)) * HEAD
    heads = width // HEAD
    sizes = {"layers": depth, "width": width, "heads": heads, "kv_heads": 1 if shared else heads, "vocab": VOCAB}
    one, two = (fs.Shape(**sizes, ffn_width=n).params for n in (1, 2))
    return fs.Shape(**sizes, ffn_width=1 + round((params - one) / (two - one)))


class Trials:
    """Settings to a run and its two numbers; runs and speeds are kept in the folder."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.speeds = args.out / "speeds.json"

    def workload(self, settings: Mapping[str, Any]) -> fs.Workload:
        """What a shape trains."""
        shape = shape_of(self.args.params, settings)
        return fs.Workload.from_shape(shape, tokens=self.args.tokens, seq_len=SEQ_LEN)

    def config(self, settings: Mapping[str, Any], seed: int) -> TrainConfig:
        """The plan's recipe at this learning rate and batch."""
        request = fs.Request(learning_rate=settings["learning_rate"], batch_tokens=settings["batch_tokens"])
        data = tuple(str(path) for path in self.args.data)
        return plan_run(self.workload(settings), request, data=data, threads=self.args.threads, seed=seed).config

    def losses(self, settings: Mapping[str, Any]) -> list[float]:
        """Of every seed; trained, or found where it has been."""
        jobs = [train_job(self.config(settings, seed)) for seed in range(self.args.seeds)]
        outcomes = [run_job(job, self.args.out / "runs" / job.key) for job in jobs]
        for outcome in outcomes:
            if outcome.state not in ("done", "diverged"):
                raise ForescaleError(f"the run is {outcome.state}: {outcome.problem}")
        return [outcome.loss for outcome in outcomes]

    def make(self, settings: dict[str, Any]) -> tuple[float, float]:
        """The mean loss of the seeds, and how fast the shape decodes."""
        return fmean(self.losses(settings)), self.speed(settings)

    def noise(self, study: Study) -> float | None:
        """The sd of ln of a mean loss, by its seeds and pooled over the trials; None with one seed."""
        each = [self.losses(trial.params) for trial in study.get_trials(states=[TrialState.COMPLETE])]
        scatter = [variance(map(log, losses)) for losses in each if len(losses) > 1 and all(map(isfinite, losses))]
        return sqrt(fmean(scatter) / self.args.seeds) if scatter else None

    def speed(self, settings: Mapping[str, Any]) -> float:
        """Tokens a second of one sequence; measured once a shape, so that its runs differ in their loss alone."""
        known: dict[str, float] = json.loads(self.speeds.read_text("utf-8")) if self.speeds.exists() else {}
        key = self.described(settings)
        if key not in known:
            known[key] = decoding_speed(build_model(shape_of(self.args.params, settings), seq_len=SEQ_LEN))
            self.speeds.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")
        return known[key]

    def described(self, settings: Mapping[str, Any]) -> str:
        """A shape in few words: layers x width, FFN width, key-value heads."""
        shape = shape_of(self.args.params, settings)
        return f"{shape.layers} x {shape.width}, FFN {shape.ffn_width}, {shape.kv_heads} kv"


def show(front: Front, trials: Trials) -> None:
    """The front as a table."""
    print(f"\n{'depth x width':>24} {'loss':>8} {'tokens/s':>9} {'learning rate':>14} {'batch':>6} {'chance':>7}")
    for point in front.members:
        s = point.settings
        print(
            f"{trials.described(s):>24} {point.loss:8.4f} {point.value:9.0f} {s['learning_rate']:14.4g} "
            f"{s['batch_tokens']:6} {front.chance(point):7.0%}"
        )
    loss, value = front.reference
    print(f"{len(front.points)} runs; area {front.hypervolume:.4g} up to {loss:.4g} and {value:.4g}")
    print(f"noise {front.noise:.2%} of loss ({front.noise_source})")


def main() -> None:
    """Search, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="*", default=[])
    parser.add_argument("--params", type=lambda text: parse_quantity(text, "params"), default=5e4)
    parser.add_argument("--tokens", type=lambda text: parse_quantity(text, "tokens"), default=3e5)
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=2, help="runs of each setting")
    parser.add_argument("--out", type=Path, default=Path("pareto"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)  # decoding one token at a time gains nothing from more

    trials = Trials(args)
    storage = JournalStorage(JournalFileBackend(str(args.out / "study.log")))
    sampler = ParetoSampler(trials.workload, TPESampler(seed=0))
    study = open_study(DECODING_SPEED, sampler, storage=storage)
    explore(study, trials.make, SPACE, trials=args.trials, first=[FIRST] * 4, say=print)

    front = front_of(study, DECODING_SPEED, noise=trials.noise(study))
    show(front, trials)
    save(pareto_chart(front, describe=trials.described), args.out / "front.png")
    (args.out / "front.json").write_text(json.dumps(front.to_json(), indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
