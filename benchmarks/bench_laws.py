"""Workloads a second on one core: laws on arrays, against the same law called workload by workload."""

from __future__ import annotations

import statistics

import numpy as np

import harness
from forescale.laws import law

ROUNDS = 7
ARRAY, LOOP = 1_000_000, 10_000


def main() -> None:
    """Target: at least a million workloads a second, learning rate and batch together."""
    rng = np.random.default_rng(0)
    params, tokens = 10 ** rng.uniform(7, 11, ARRAY), 10 ** rng.uniform(9, 13, ARRAY)
    step_law, chinchilla = law("step-law"), law("epoch")

    def recipe_on_arrays() -> None:
        step_law.predict("learning_rate", params=params, tokens=tokens)
        step_law.predict("batch_tokens", params=params, tokens=tokens)

    def recipe_in_a_loop() -> None:
        for n, d in zip(params[:LOOP].tolist(), tokens[:LOOP].tolist(), strict=True):
            step_law.predict("learning_rate", params=n, tokens=d)
            step_law.predict("batch_tokens", params=n, tokens=d)

    def loss_on_arrays() -> None:
        chinchilla.predict("loss", params=params, tokens=tokens)

    samples = harness.interleaved(
        ROUNDS,
        {
            "step_law_arrays": lambda: harness.call_cpu_seconds(recipe_on_arrays) / ARRAY,
            "step_law_loop": lambda: harness.call_cpu_seconds(recipe_in_a_loop) / LOOP,
            "chinchilla_arrays": lambda: harness.call_cpu_seconds(loss_on_arrays) / ARRAY,
        },
    )
    harness.write(
        "laws",
        ["forescale", "numpy"],
        peer="the same law, one workload a call",
        rounds=ROUNDS,
        workloads_per_cpu_second={name: round(1 / statistics.median(s)) for name, s in samples.items()},
        ratio_to_peer=round(harness.median_ratio(samples["step_law_arrays"], samples["step_law_loop"]), 5),
        target_workloads_per_second=1_000_000,
    )


if __name__ == "__main__":
    main()
