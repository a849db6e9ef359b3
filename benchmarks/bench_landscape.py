"""Does the landscape foresee what following another law costs? Expected against measured loss gap on real sweeps.

For every law that chooses both learning rate and batch: the gap that `forescale plan` expects of it in each cell, from
the landscape centred on Step Law's choice, against the gap read from that cell's own runs (smooth surface).
"""

from __future__ import annotations

import harness
from forescale.fit import score
from forescale.plan import make_plan
from forescale.runs import read_runs
from forescale.workload import Workload

SWEEPS = {"dense": "dense_lr_bs_loss.csv", "moe": "moe_lr_bs_loss.csv"}
LAWS = {
    "dense": ["deepseek", "porian", "lingle", "steplaw-refit", "step-law-pooled"],
    "moe": ["ling-moe", "step-law-pooled"],
}


def main() -> None:
    """No target was set: the means are to agree, cell by cell the expectation is blunt."""
    results = {name: compare(str(harness.DATA / "step-law" / file), LAWS[name]) for name, file in SWEEPS.items()}
    harness.write(
        "landscape", ["forescale", "numpy", "scipy"], unit="per cent of loss, mean over cells", sweeps=results
    )


def compare(path: str, laws: list[str]) -> dict[str, dict[str, float]]:
    """Law -> expected and measured mean gap in per cent over the cells where the landscape reaches."""
    table: dict[str, dict[str, float]] = {}
    for scored in score(read_runs(path, seq_len=2048), laws).laws:
        pairs = [(expected(scored.name, g.params, g.active_params, g.tokens), 100 * g.smooth) for g in scored.gaps]
        known = [(e, m) for e, m in pairs if e is not None]
        table[scored.name] = {
            "expected": round(sum(e for e, _ in known) / len(known), 3),
            "measured": round(sum(m for _, m in known) / len(known), 3),
            "cells": len(known),
            "cells_beyond_the_landscape": len(pairs) - len(known),
        }
    return table


def expected(name: str, params: float, active_params: float, tokens: float) -> float | None:
    """The plan's expected loss gap of following the law, in per cent."""
    made = make_plan(Workload(params=params, active_params=active_params, tokens=tokens, seq_len=2048))
    return {a.law: a.loss_gap_percent for a in made.alternatives}[name]


if __name__ == "__main__":
    main()
