"""The picture of docs/concepts/watch.md: llm.c's log until step 11,000 with three faults planted, as `watch` sees it."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import polars as pl

from forescale.curves.watch import watch
from forescale.plots import save, watch_figure
from harness import DATA, REPOSITORY
from watch_data import Run, load

UNTIL, SPIKE, CHANGE, GROWTH = 11_000, 5_000, 8_000, 9_000  # steps
SIZES = {"spike": 0.5, "fades": 25.0, "change": 0.07, "doubles": 1_500.0}  # nats, steps, nats, steps


def main() -> None:
    run = next(each for each in load(DATA) if each.source == "llm.c")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "run.csv"
        planted(run).write_csv(file)
        seen = watch(file, steps=run.total)
    for event in seen.events:
        print(event)
    save(watch_figure(seen), REPOSITORY / "docs" / "assets" / "watch.png")


def planted(run: Run) -> pl.DataFrame:
    assert run.norm is not None
    assert run.rate is not None
    step = run.step
    loss = run.loss + np.where(step >= SPIKE, SIZES["spike"] * np.exp(-(step - SPIKE).clip(0) / SIZES["fades"]), 0)
    loss = loss + np.where(step >= CHANGE, SIZES["change"], 0)
    norm = run.norm * 2 ** ((step - GROWTH).clip(0) / SIZES["doubles"])
    rate = np.interp(step, (np.arange(len(run.rate)) + 0.5) / len(run.rate) * run.total, run.rate)
    return pl.DataFrame({"step": step, "loss": loss, "learning_rate": rate, "grad_norm": norm}).filter(
        pl.col("step") <= UNTIL
    )


if __name__ == "__main__":
    main()
