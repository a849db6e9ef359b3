"""What following each published law would have cost on Step Law's released sweeps: `forescale score`, in per cent."""

from __future__ import annotations

import harness
from forescale.fit import score
from forescale.runs import read_runs

SWEEPS = {"dense": "dense_lr_bs_loss.csv", "moe": "moe_lr_bs_loss.csv"}


def main() -> None:
    """Write every law's mean gap in three readings, the best constant setting and the floor."""
    sweeps: dict[str, object] = {}
    seconds: dict[str, float] = {}
    for name, file in SWEEPS.items():
        path = str(harness.DATA / "step-law" / file)
        scores = score(read_runs(path, seq_len=2048))
        rows = (*scores.laws, *scores.baselines, scores.floor)
        sweeps[name] = {
            row.name: {
                reading: round(100 * getattr(row, reading).mean, 3) for reading in ("nearest", "linear", "smooth")
            }
            | {"clipped": row.clipped, "given": list(row.given)}
            for row in rows
        }
        seconds[name] = round(harness.call_cpu_seconds(lambda path=path: score(read_runs(path, seq_len=2048))), 2)
    harness.write("score", ["forescale", "numpy", "polars", "scipy"], sweeps=sweeps, cpu_seconds=seconds)


if __name__ == "__main__":
    main()
