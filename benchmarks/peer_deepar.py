"""Training steps a CPU second: C2FAR against GluonTS's DeepAR on the same series, with as many parameters and the same batch.

    pip install "gluonts[torch]==0.17.0"
    python benchmarks/peer_deepar.py [--rounds 5]

A step's time is the difference of a longer and a shorter training over the difference of their steps, so that start-up is
not in it: reading the series, finding the windows and, in DeepAR's, building a trainer.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

import harness
from bench_forecast import HORIZON, as_frame, azure_hourly

SHORT, LONG = 30, 130  # steps
BATCH = 32  # windows: DeepAR's default
PAIRS: dict[str, dict[str, dict[str, Any]]] = {  # equal parameters to a few per cent: `parameters` in the result
    "DeepAR's default size": {
        "DeepAR": {"hidden_size": 40, "num_layers": 2},
        "C2FAR, two layers": {"hidden": 17, "layers": 2},
        "C2FAR, one layer": {"hidden": 18},
    },
    "C2FAR's default size": {
        "DeepAR": {"hidden_size": 91, "num_layers": 2},
        "C2FAR, two layers": {"hidden": 54, "layers": 2},
        "C2FAR, one layer": {"hidden": 64},
    },
}
Train = Callable[[int], int]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # of the peer's dependencies
    logging.disable(logging.WARNING)
    series = [each[: -7 * HORIZON] for each in azure_hourly()]
    results = {name: compared(series, pair, rounds) for name, pair in PAIRS.items()}
    harness.write(
        "forecast_training", ["forescale", "torch", "gluonts", "lightning"], batch=BATCH, sizes=results, rounds=rounds
    )


def compared(series: list[np.ndarray], pair: dict[str, dict[str, Any]], rounds: int) -> dict[str, Any]:
    """Parameters, milliseconds a step and steps a CPU second as multiples of DeepAR's, of each variant."""
    makers = {name: (deepar if name == "DeepAR" else c2far)(series, **sizes) for name, sizes in pair.items()}
    counts = {name: train(1) for name, train in makers.items()}
    samples = harness.interleaved(rounds, {name: of_a_step(train) for name, train in makers.items()})
    return {
        "parameters": counts,
        "ms_per_step": {name: round(1e3 * statistics.median(each), 2) for name, each in samples.items()},
        "ratio": {
            name: round(harness.median_ratio(samples["DeepAR"], each), 2)
            for name, each in samples.items()
            if name != "DeepAR"
        },
        "samples": samples,
    }


def of_a_step(train: Train) -> Callable[[], float]:
    """CPU seconds."""

    def measured() -> float:
        short, long = (harness.call_cpu_seconds(lambda steps=steps: train(steps)) for steps in (SHORT, LONG))
        return (long - short) / (LONG - SHORT)

    return measured


def c2far(series: list[np.ndarray], **sizes: Any) -> Train:
    from forescale.forecast import C2FAR, Training

    frame = as_frame(series)

    def train(steps: int) -> int:
        training = Training(steps=steps, batch=BATCH, checks=1)
        return C2FAR(horizon=HORIZON, training=training, **sizes).fit(frame).parameters

    return train


def deepar(series: list[np.ndarray], **sizes: Any) -> Train:
    import pandas as pd  # pyright: ignore[reportMissingTypeStubs]
    from gluonts.dataset.common import ListDataset  # type: ignore[import-not-found]  # the peer, no dependency
    from gluonts.torch import DeepAREstimator  # type: ignore[import-not-found]  # the peer, no dependency

    data = ListDataset([{"start": pd.Period("2000-01-03", "h"), "target": each} for each in series], freq="h")
    quiet = {"max_epochs": 1, "enable_progress_bar": False, "logger": False, "enable_model_summary": False}

    def train(steps: int) -> int:
        estimator: Any = DeepAREstimator(
            freq="h", prediction_length=HORIZON, batch_size=BATCH, num_batches_per_epoch=steps, trainer_kwargs=quiet,
            **sizes,
        )  # fmt: skip
        return sum(each.numel() for each in estimator.train_model(data).trained_net.parameters())

    return train


if __name__ == "__main__":
    main()
