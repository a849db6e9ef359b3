"""C2FAR: accuracy by a fixed protocol, against other laws in the same network; and sampling speed against the authors' code.

    python benchmarks/bench_forecast.py [accuracy] [--data m4_hourly azure_hourly] [--laws levels flat normal student-t]
                                        [--steps 1500] [--seeds 0 1 2] [--paths 100] [--every 1]
    python benchmarks/bench_forecast.py speed --authors FOLDER

Protocol: hourly series; the last seven horizons of 24 values of each are forecast from all values before each, by one model
trained on what lies before all seven. FOLDER is a checkout of github.com/huaweicloud/c2far_forecasting (branch master). Each
accuracy row is added to results/forecast_accuracy.json as soon as it is there; all of them take an hour and a half of CPU.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import harness

HORIZON, WINDOWS, PATHS = 24, 7, 100  # paths: of the speed
LAWS: dict[str, dict[str, Any]] = {
    "levels": {},
    "flat": {"bins": (60,)},  # as many outputs as 20 + 20 + 20
    "normal": {"law": "normal"},
    "student-t": {"law": "student-t"},
    "transformer": {"backbone": "transformer", "layers": 2},  # of the law of levels, in the LSTM's place
}
STEPS = {"m4_hourly": 1500, "azure_hourly": 400}
RATES = {"transformer": 2e-3}  # learning rates that are not the default; chosen before any run
CHECKPOINT = harness.DATA / "c2far-checkpoint" / "c2far_azure_16-11-94_h130.npz"
PUBLISHED_CODE = "huaweicloud/c2far_forecasting, branch master, ced70df"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("part", nargs="?", choices=["accuracy", "speed"], default="accuracy")
    parser.add_argument("--data", nargs="+", default=["m4_hourly", "azure_hourly"], choices=sorted(DATA))
    parser.add_argument("--laws", nargs="+", default=list(LAWS)[:4], choices=list(LAWS))
    parser.add_argument("--steps", type=int, help="default: 1500 on m4_hourly, 400 on azure_hourly")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--paths", type=int, default=100)
    parser.add_argument("--every", type=int, default=1, help="take every so many-th series")
    parser.add_argument("--authors", type=Path)
    options = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    accuracy(options) if options.part == "accuracy" else speed(options.authors)


# Accuracy.


def accuracy(options: argparse.Namespace) -> None:
    file = harness.RESULTS / "forecast_accuracy.json"
    rows: list[dict[str, Any]] = json.loads(file.read_text("utf-8"))["rows"] if file.exists() else []
    for name in options.data:
        frame, steps = as_frame(DATA[name]()[:: options.every]), options.steps or STEPS[name]
        for law in options.laws:
            for seed in options.seeds:
                about = {"data": name, "law": law, "seed": seed, "steps": steps, "paths": options.paths}
                about["every"] = options.every
                rows = [row for row in rows if {key: row.get(key, 1) for key in about} != about]
                rows.append(about | trained(frame, law, seed, steps, options.paths))
                harness.write("forecast_accuracy", ["forescale", "torch", "numpy"], rows=rows)


def trained(frame: pl.DataFrame, law: str, seed: int, steps: int, paths: int) -> dict[str, Any]:
    from forescale.forecast import C2FAR, Training, scores

    rate = RATES.get(law, Training.learning_rate)
    model = C2FAR(horizon=HORIZON, training=Training(steps=steps, seed=seed, learning_rate=rate), **LAWS[law])
    started = time.process_time()
    found = model.backtest(frame, windows=WINDOWS, paths=paths)
    spent = time.process_time() - started
    assert model.fitted is not None
    assert model.fitted.cpu_seconds is not None
    return {
        "scores": {name: round(value, 5) for name, value in scores(found.paths, found.y).items()},
        "held_out_nats": model.fitted.loss,
        "best_step": model.fitted.best_step,
        "steps_taken": model.fitted.steps,
        "parameters": model.parameters,
        "train_cpu_seconds": round(model.fitted.cpu_seconds, 1),
        "paths_per_cpu_second": round(found.paths.size / HORIZON / (spent - model.fitted.cpu_seconds)),
    }


def as_frame(series: list[np.ndarray]) -> pl.DataFrame:
    """Hourly from a Monday on, as in the protocol: the files have no times."""
    start = pl.datetime(2000, 1, 3)
    tables = [
        pl.DataFrame({"unique_id": f"{k:03}", "hour": np.arange(len(values)), "y": values})
        for k, values in enumerate(series)
    ]
    return pl.concat(tables).select("unique_id", (start + pl.duration(hours="hour")).alias("ds"), "y")


def m4_hourly() -> list[np.ndarray]:
    parts = []
    for name in ("Hourly-train.csv.gz", "Hourly-test.csv.gz"):
        with gzip.open(harness.DATA / "m4-hourly" / name, "rt", newline="") as file:
            parts.append({row[0]: [float(v) for v in row[1:] if v] for row in list(csv.reader(file))[1:]})
    return [np.array(values + parts[1][name]) for name, values in parts[0].items()]


def azure_hourly() -> list[np.ndarray]:
    with gzip.open(harness.DATA / "azure-vm-demand" / "azure.vcpus.5min.part-ae.tsv.gz", "rt") as file:
        rows = [line.rstrip("\n").split("\t") for line in file]
    values = [np.array([float(v) for v in row[-1].split(",")]) for row in rows if len(row) == 12]
    return [each.reshape(-1, 12).mean(1) for each in values if len(each) == 8628]


DATA: dict[str, Callable[[], list[np.ndarray]]] = {"m4_hourly": m4_hourly, "azure_hourly": azure_hourly}


# Speed.


def speed(authors: Path | None) -> None:
    """Paths a CPU second, 100 of 24 steps for each window, one thread, the same weights; conditioning counts."""
    from forescale.forecast import C2FAR

    windows = np.stack([v[-170 - HORIZON : -HORIZON] for v in azure_hourly() if np.ptp(v[-192:-HORIZON]) > 0])
    windows = windows[:6]  # the published code runs the conditioning window for every path: 20 CPU seconds a round
    frame = pl.concat([pl.DataFrame({"unique_id": k, "ds": np.arange(170), "y": v}) for k, v in enumerate(windows)])
    model = C2FAR.from_reference(CHECKPOINT)
    count = len(windows) * PATHS
    variants = {"forescale": lambda: harness.call_cpu_seconds(lambda: model.paths(frame, HORIZON, PATHS))}
    if authors is not None:
        generate = authors_generator(authors)
        once, repeated = (lambda: generate(windows, once=True)), (lambda: generate(windows, once=False))
        variants["authors, conditioned once a window"] = lambda: harness.call_cpu_seconds(once)
        variants["authors, as published"] = lambda: harness.call_cpu_seconds(repeated)
    samples = harness.interleaved(2, variants)
    harness.write(
        "forecast_speed",
        ["forescale", "torch"],
        peer=PUBLISHED_CODE,
        windows=len(windows),
        parameters=model.parameters,
        paths_per_cpu_second={name: round(count / statistics.median(each)) for name, each in samples.items()},
        ratio={
            name: round(1 / harness.median_ratio(samples["forescale"], each), 2)
            for name, each in samples.items()
            if name != "forescale"
        },
        samples=samples,
    )


def authors_generator(folder: Path) -> Callable[..., Any]:
    """Their generator, network and digitizer with their checkpoint, on windows of 2 + 168 values."""
    import torch

    sys.path.insert(0, str(folder))
    from c2far.dataprep.cutoffs.linear_cutoffs import get_coarse_cutoffs  # type: ignore[import-not-found]  # of the checkout
    from c2far.ml.batch_predictor import BatchPredictor  # type: ignore[import-not-found]  # of the checkout
    from c2far.ml.constants import ConfidenceFlags, ExampleKeys, IntraBinDecoder  # type: ignore[import-not-found]  # of the checkout
    from c2far.ml.evaluators.lstm_evaluator import TripleLSTMEvaluator  # type: ignore[import-not-found]  # of the checkout
    from c2far.ml.nets.triple_lstm import TripleLSTM  # type: ignore[import-not-found]  # of the checkout

    network = TripleLSTM.create_from_path(str(next((folder / "resources" / "models").glob("*.pt"))), device="cpu")
    evaluator = TripleLSTMEvaluator(network.eval(), "cpu", True)
    cutoffs = torch.tensor(get_coarse_cutoffs(16, -0.1, 1.3))

    def predictor(samples: int) -> Any:
        return BatchPredictor(
            evaluator, cutoffs, -0.1, 1.3, csize=168, nsize=168, nstride=HORIZON, gsize=HORIZON, nsamples=samples,
            device="cpu", confidence=ConfidenceFlags.WQL_QTILES.value, bdecoder=IntraBinDecoder.UNIFORM, nfine_bins=11,
            nfine2_bins=94, extremas=True,
        )  # fmt: skip

    published, single = predictor(PATHS), predictor(1)

    def generate(windows: np.ndarray, *, once: bool) -> Any:
        values = torch.tensor(windows, dtype=torch.float32)
        if not once:
            return published._make_all_gen(values)
        with torch.no_grad():
            batch = single._BatchPredictor__make_batch(values, 1)
            inputs, originals = batch[ExampleKeys.INPUT], batch[ExampleKeys.ORIGINALS]
            evaluator.run_init_hidden(len(values))
            evaluator.set_do_init_hidden(False)
            evaluator.batch_forward_outputs(inputs[:-1], None, originals)
            for level in ("coarse_hidden", "fine_hidden", "fine2_hidden"):
                state = tuple(part.repeat_interleave(PATHS, 1) for part in getattr(network, level))
                setattr(network, level, state)
            many = (part.repeat_interleave(PATHS, 1) for part in (inputs[-1:], originals))
            drawn = single.gen._build_outseqs(*many)
            evaluator.set_do_init_hidden(True)
        return drawn

    return generate


if __name__ == "__main__":
    main()
