"""Step Law's fit with 1,000 bootstraps against its authors' whole tool, in turn on one machine.

    python benchmarks/peer_step_law.py CHECKOUT [PYTHON]

CHECKOUT is a clone of github.com/step-law/steplaw at the commit below, PYTHON an interpreter with the packages of its
requirements.txt (default: this one). Both do the same job on the same table: read it, take the runs within 0.25 % of
their cell's lowest loss, fit 1,000 resamples of them, and report the coefficients. The tool runs as it is, in a copy.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import harness

COMMIT = "32a8f4cc50247695fb56cc6c9117abdf67c97763"
TOOL = "code/fit_tool.py"
ROUNDS = 5
SWEEP = harness.DATA / "step-law" / "dense_lr_bs_loss.csv"
SEQ_LEN = 2048


def main() -> None:
    """Write times, ratios and how far the coefficients of the same resamples are apart."""
    if len(sys.argv) not in (2, 3):
        raise SystemExit(__doc__)
    python = sys.argv[2] if len(sys.argv) == 3 else sys.executable
    with tempfile.TemporaryDirectory() as folder:
        copy, result = Path(folder) / "steplaw", Path(folder) / "result.json"
        check_out(Path(sys.argv[1]), copy)
        driver = str(Path(__file__).with_name("step_law_tool.py"))
        theirs: dict[str, list[float]] = {"seconds": [], "cpu_seconds": [], "process_seconds": []}
        mine: dict[str, list[float]] = {"seconds": [], "cpu_seconds": [], "process_seconds": []}
        for round_ in range(ROUNDS + 1):
            start = time.perf_counter()
            subprocess.run([python, driver, str(copy), str(SWEEP), str(result)], check=True, capture_output=True)
            whole = time.perf_counter() - start
            document = json.loads(result.read_text(encoding="utf-8"))
            taken = job()
            start = time.perf_counter()
            subprocess.run([sys.executable, __file__, "--job"], check=True, capture_output=True)
            taken["process_seconds"] = time.perf_counter() - start
            if round_:
                for name, samples in theirs.items():
                    samples.append(whole if name == "process_seconds" else document[name])
                    mine[name].append(taken[name])
    harness.write(
        "step_law",
        ["forescale", "numpy"],
        task=f"{SWEEP.name}: read, {len(document['points'])} points, 1,000 bootstraps over points, coefficients",
        peer={
            "repository": "github.com/step-law/steplaw",
            "commit": COMMIT,
            "file": TOOL,
            "packages": packages(python),
        },
        rounds=ROUNDS,
        seconds={"forescale": medians(mine), "authors' tool": medians(theirs)},
        times_faster={name: 1 / harness.median_ratio(mine[name], theirs[name]) for name in mine},
        coefficients={"largest_relative_difference": difference(document), "resamples": "the tool's own draws"},
        targets={"times_faster": 100, "largest_relative_difference": 1e-9},
    )


def check_out(repository: Path, copy: Path) -> None:
    """The tool's file at the commit, from a clone with or without a work tree."""
    found = git(repository, "rev-parse", f"{COMMIT}^{{commit}}")
    if found != COMMIT:
        raise SystemExit(f"{repository} does not hold commit {COMMIT}; it has {found or 'no such commit'}.")
    (copy / TOOL).parent.mkdir(parents=True)
    (copy / TOOL).write_text(git(repository, "show", f"{COMMIT}:{TOOL}") + "\n", encoding="utf-8")


def git(repository: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(repository), *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def job() -> dict[str, float]:
    """Our whole job in this process, numpy and polars being loaded."""
    start, cpu = time.perf_counter(), time.process_time()
    features, targets = points()
    fitted = solve(features, targets, None)
    np.hstack([side.mean(0) for side in fitted])
    return {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu}


def points() -> tuple[Any, Any]:
    """The near-optimal runs of the file: ln N and ln D, ln lr and ln batch."""
    from forescale.fit import make_cells
    from forescale.fit._optima import near_points
    from forescale.runs import read_runs

    cells = make_cells(read_runs(SWEEP, seq_len=SEQ_LEN)).cells
    near = near_points(cells)
    return np.log([[c.params, c.tokens] for c in cells])[near.cell], near.at


def solve(features: Any, targets: Any, counts: Any) -> Any:
    from forescale.fit._regression import regression, resample_counts

    drawn = resample_counts(len(features), 1000, 42) if counts is None else counts
    return regression(features, targets, [(0, 1), (1,)]).solve(drawn)


def difference(document: dict[str, Any]) -> float:
    """Largest relative difference of our coefficients from the tool's, on its own points and resamples."""
    N, D, rate, batch = np.log(np.array(document["points"])).T
    ours = np.hstack(solve(np.stack([N, D], 1), np.stack([rate, batch], 1), np.array(document["draws"], dtype=float)))
    theirs = np.array(document["coefficients"])
    same = sorted(map(tuple, np.round(np.stack([N, D, rate, batch], 1), 9).tolist()))
    features, targets = points()
    if same != sorted(map(tuple, np.round(np.hstack([features, targets]), 9).tolist())):
        raise SystemExit("the two jobs did not take the same points")
    return float(np.abs(ours / theirs - 1).max())


def medians(samples: dict[str, list[float]]) -> dict[str, float]:
    return {name: statistics.median(values) for name, values in samples.items()}


def packages(python: str) -> dict[str, str]:
    """Versions that the tool ran with."""
    ask = "import json, numpy, pandas, sklearn; print(json.dumps([m.__version__ for m in (numpy, pandas, sklearn)]))"
    done = subprocess.run([python, "-c", ask], check=True, capture_output=True, text=True)
    return dict(zip(("numpy", "pandas", "scikit-learn"), json.loads(done.stdout), strict=True))


if __name__ == "__main__":
    if sys.argv[1:] == ["--job"]:
        job()
    else:
        main()
