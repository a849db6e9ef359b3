"""`forescale watch` on real curves: coverage of its forecasts, false alarms, and the delay until planted faults are seen.

    python benchmarks/bench_watch.py

Forecasts are judged leaving one source out: the widths are learnt from the other sources. Detectors learn their tails
from every second run; false alarms and planted faults are counted on the others, and their rivals have as many false
alarms. Runs of `benchmarks/tune_demo.py` (tiny decoders) are used where they lie in .cache/tune_demo: they alone log
gradient norms beside llm.c's run.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import watch_data
import watch_events
import watch_forecasts
from harness import DATA, write


def main() -> None:
    """Measure and write results/watch.json."""
    runs = watch_data.load(DATA)
    counts = {source: sum(run.source == source for run in runs) for source in dict.fromkeys(run.source for run in runs)}
    write(
        "watch",
        ["numpy", "scipy", "polars"],
        runs=counts,
        forecasts=watch_forecasts.measure(runs),
        events=watch_events.measure([run for run in runs if run.every == 1]),
    )


if __name__ == "__main__":
    main()
