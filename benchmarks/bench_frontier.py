"""`forescale frontier`: CPU time against scipy's differential evolution on the same points, and Power Lines' conclusions."""

from __future__ import annotations

import statistics
from math import exp, log
from typing import Any

from scipy.optimize import differential_evolution, minimize_scalar

import harness
from forescale.laws import law
from forescale.plan.frontier import Cluster, Frontier, Goal, Point, make_frontier

ROUNDS = 5
COMMAND = ["-m", "forescale", "frontier", "--loss", "2.6", "--seq-len", "2048", "--json"]
GOAL = Goal(loss=2.6, seq_len=2048)
LOSS_LAWS = ("epoch", "chinchilla", "skaling", "muennighoff", "kaplan-loss")
CRITICAL_LAWS = ("zhang-refit", "power-lines", "kaplan")
CLUSTERS = {
    "unlimited devices": Cluster(),
    "64 devices": Cluster(devices=64),
    "steps only": Cluster(seconds_per_step=1.0),
}


def main() -> None:
    """Target: a process under a second of CPU time, and no point worse than scipy's by a tenth of a per cent of compute."""
    samples = harness.interleaved(
        ROUNDS,
        {
            "process": lambda: harness.process_cpu_seconds(COMMAND),
            "call": lambda: harness.call_cpu_seconds(lambda: make_frontier(GOAL)),
            "scipy": lambda: harness.call_cpu_seconds(lambda: [by_scipy(p) for p in make_frontier(GOAL).points]),
        },
    )
    points = make_frontier(GOAL).points
    harness.write(
        "frontier",
        ["forescale", "numpy", "scipy"],
        peer="scipy.optimize.differential_evolution, one search for each point of the frontier (2 variables, seed 0)",
        rounds=ROUNDS,
        points=len(points),
        cpu_seconds={name: round(statistics.median(s), 4) for name, s in samples.items()},
        ratio_to_peer=round(harness.median_ratio(samples["call"], samples["scipy"]), 4),
        compute_over_peer_minus_1={
            "most": round(max(p.compute / by_scipy(p) - 1 for p in points), 6),
            "least": round(min(p.compute / by_scipy(p) - 1 for p in points), 6),
        },
        power_lines={
            "target_loss": 2.6,
            "paper_tokens_per_param": 20.6,
            "cheapest": cheapest(),
            "equal_weight": equal_weight(),
        },
    )


def by_scipy(point: Point) -> float:
    """Least compute for the loss within the point's time on unlimited devices; batches and steps not whole."""
    loss, critical = law("epoch").formula("loss").constants, law("zhang-refit").formula("critical_batch_tokens")
    c, e = critical.constants["coefficient"], critical.exponents["tokens"]

    def objective(x: Any) -> float:
        N, B = exp(x[0]), exp(x[1])
        rest = point.loss - loss["E"] - loss["A"] / N ** loss["alpha"]
        if rest <= 0:
            return 1e3
        D_min = (loss["B"] / rest) ** (1 / loss["beta"])
        tokens = D_min * (1 + B / (c * D_min**e))
        seconds = tokens / B * 6 * N * 2048 / (989e12 * 0.4)
        return log(6 * N * tokens) + 1e3 * max(log(seconds / point.seconds), 0.0)

    bounds = [(log(1e8), log(1e10)), (log(1e5), log(1e9))]
    return exp(differential_evolution(objective, bounds, seed=0, tol=1e-10, maxiter=500).fun)


def cheapest() -> dict[str, float]:
    """Tokens per parameter of least 6 N D at the loss by each loss law, batch left out."""
    return {name: round(_cheapest(name), 1) for name in LOSS_LAWS}


def _cheapest(name: str) -> float:
    world = make_frontier(Goal(loss=2.6, laws=(f"loss={name}",))).problem.world

    def log_compute(log_params: float) -> float:
        return log_params + log(float(world.least_tokens(exp(log_params), 2.6)))

    N = exp(minimize_scalar(log_compute, bounds=(log(1e8), log(1e11)), method="bounded").x)
    return float(world.least_tokens(N, 2.6)) / N


def equal_weight() -> dict[str, dict[str, dict[str, float]]]:
    """Time model -> critical batch law -> tokens per parameter of the choice at equal weight, by epoch."""
    return {
        name: {
            critical: _chosen(make_frontier(Goal(loss=2.6, seq_len=2048, laws=(critical_law(critical),)), cluster))
            for critical in CRITICAL_LAWS
        }
        for name, cluster in CLUSTERS.items()
    }


def critical_law(name: str) -> str:
    return f"critical_batch_tokens={name}"


def _chosen(made: Frontier) -> dict[str, Any]:
    chosen = made.chosen
    fastest, dearest = made.points[0], [o for o in made.other_sizes if o.point.tokens_per_param < 20]
    return {
        "tokens_per_param": round(chosen.tokens_per_param, 1),
        "small_batch_tokens_per_param": round(chosen.small_batch_tokens / chosen.params, 1),
        "fastest_tokens_per_param": round(fastest.tokens_per_param, 1),
        "sizes_under_20_that_are_beaten": [round(o.point.tokens_per_param, 1) for o in dearest if o.dominated],
        "sizes_under_20_that_are_not": [round(o.point.tokens_per_param, 1) for o in dearest if not o.dominated],
    }


if __name__ == "__main__":
    main()
