"""What a parametrization's groups cost: a training step with them against one with a single plain group.

The same model and data, torch's fused AdamW, in turn: the ratio of CPU times of whole steps.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import torch

import harness
from forescale.parametrize import parametrization
from forescale.train import build_model
from forescale.workload import Shape

SHAPES = {
    "L2 d64 T128 B16": (Shape(layers=2, width=64, heads=4, vocab=256), 128, 16, 15, 40),
    "L6 d384 T256 B8": (Shape(layers=6, width=384, heads=6, vocab=256), 256, 8, 9, 1),
}


def main() -> None:
    torch.set_num_threads(1)
    results: dict[str, Any] = {}
    for name, (shape, seq_len, batch, rounds, steps) in SHAPES.items():
        rules = parametrization("completep", base=Shape(width=32, depth=1))
        grouped, plain = (stepper(rules, shape, seq_len, batch, groups=on) for on in (True, False))
        samples = harness.interleaved(
            rounds, {"completep": repeated(grouped, steps), "one group": repeated(plain, steps)}
        )
        model = build_model(shape, seq_len=seq_len)
        results[name] = {
            "groups": len(rules.param_groups(model, 1e-3)),
            "tensors": len(list(model.parameters())),
            "step_time_ratio": harness.median_ratio(samples["completep"], samples["one group"]),
            "milliseconds_a_step": {k: 1000 * statistics.median(v) / steps for k, v in samples.items()},
            "rounds": rounds,
        }
        print(name, results[name], flush=True)
    harness.write("groups", ["forescale", "torch"], threads=1, target=1.02, results=results)


def stepper(rules: Any, shape: Shape, seq_len: int, batch: int, *, groups: bool) -> Callable[[], None]:
    """A whole training step of a model of its own."""
    model = build_model(shape, seq_len=seq_len)
    rules.initialize_(model, seed=0)
    made: Any = rules.param_groups(model, 1e-3) if groups else list(model.parameters())
    optimizer = torch.optim.AdamW(made, lr=1e-3, fused=True)
    tokens = torch.randint(0, shape.vocab, (batch, seq_len + 1))

    def step() -> None:
        model(tokens[:, :-1], tokens[:, 1:]).objective.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def repeated(step: Callable[[], None], times: int) -> Callable[[], float]:
    def run() -> float:
        return harness.call_cpu_seconds(lambda: [step() for _ in range(times)])

    return run


if __name__ == "__main__":
    main()
