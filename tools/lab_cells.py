"""Every lab's cells with their losses, as the package's cells: what `tools/calibration.py` learns from and is tested on.

`labs` lists which runs count and why. Lingle's are optima without losses: each is one point, best within half a step of
his grid, or within it or beyond at the end of the grid.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from labs import HAGELE_N, LEAST_STEPS, LEAST_TOKENS_PER_PARAM, MARIN_WIDTHS, Array, lingle
from numpy.typing import NDArray
from step_law_fits import cells as step_law_cells

from forescale.fit import Cell
from forescale.fit.calibrate._evidence import Evidence, evidence
from forescale.fit.calibrate._valley import OCTAVE
from forescale.laws import Landscape, law


@dataclass(frozen=True, kw_only=True)
class LabCells:
    """A lab's cells, cheapest first, what one run of each costs, and the evidence of each on its optimum."""

    name: str
    evidence: tuple[Evidence, ...]

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The cells."""
        return tuple(e.cell for e in self.evidence)


def landscapes() -> dict[str, Landscape]:
    """Step Law's two measured landscapes."""
    found = {name: law(name).landscape for name in ("step-law", "step-law-moe")}
    assert all(found.values())
    return {k: v for k, v in found.items() if v is not None}


def swept_labs(data: Path) -> list[LabCells]:
    """The labs with losses, then Lingle."""
    dense, moe = (landscapes()[k] for k in ("step-law", "step-law-moe"))
    return [
        # each Step Law sweep is read with the other sweep's landscape, so that none is tested on its own
        _lab("Step Law sweep", step_law_cells(data, "dense"), moe),
        _lab("Step Law experts", step_law_cells(data, "moe"), dense),
        _lab("Marin", marin(data), dense),
        _lab("misfitting", misfitting(data), dense),
        _lab("Hagele", hagele(data), dense),
        lingle_cells(),
    ]


def _lab(name: str, cells: list[Cell], landscape: Landscape) -> LabCells:
    return LabCells(name=name, evidence=seen(cells, landscape))


def seen(cells: list[Cell], landscape: Landscape) -> tuple[Evidence, ...]:
    """The evidence of each cell, cheapest first."""
    return tuple(evidence(c, landscape) for c in sorted(cells, key=lambda c: c.active_params * c.tokens))


def make_cell(params: float, tokens: float, runs: pl.DataFrame, active: float | None = None) -> Cell:
    """A cell from columns learning_rate, batch_tokens and loss."""
    best = runs.group_by("learning_rate", "batch_tokens", maintain_order=True).agg(pl.min("loss"))
    logs = np.log(best.select("learning_rate", "batch_tokens", "loss").cast(pl.Float64).to_numpy())
    return Cell(
        params=params,
        active_params=active or params,
        tokens=tokens,
        seq_len=2048,
        points=logs[:, :2],
        log_loss=logs[:, 2],
    )


def marin(data: Path) -> list[Cell]:
    """AdamW's cells: learning rates at the best batch, batches at the best learning rate."""
    runs = pl.read_csv(data / "marin-optimizer-sweep" / "ablations.csv", infer_schema_length=None)
    runs = runs.filter(optimizer="adamw").with_columns(pl.col("loss").cast(pl.Float64)).drop_nulls("loss")
    runs = runs.filter(pl.col("loss") < 20)
    groups = sorted(runs.group_by("model_size", "chinchilla_multiple"))
    return [
        _marin_cell(str(k[0]), float(str(k[1])), g) for k, g in groups if (g["changed_param"] == "learning_rate").any()
    ]


def _marin_cell(size: str, multiple: float, group: pl.DataFrame) -> Cell:
    N = 512.0 * MARIN_WIDTHS[size] ** 2
    value = pl.col("changed_value").cast(pl.Float64, strict=False)
    chosen = group.filter(pl.col("changed_param").is_in(["Baseline", "learning_rate", "train_batch_size"])).select(
        learning_rate=pl.when(changed_param="learning_rate").then(value).otherwise("baseline_learning_rate"),
        batch_tokens=4096
        * pl.when(changed_param="train_batch_size").then(value).otherwise("baseline_train_batch_size"),
        loss="loss",
    )
    return make_cell(N, 20 * N * multiple, chosen)


def misfitting(data: Path) -> list[Cell]:
    """(N, D) cells with two rates or more."""
    runs = pl.read_csv(data / "misfitting" / "scaling_results_last_ckpt_only.csv")
    runs = runs.filter(
        pl.col("portion_steps_elapsed") > 0.999,
        pl.col("D") / pl.col("N_no_emb") >= LEAST_TOKENS_PER_PARAM,
        pl.col("total_steps") >= LEAST_STEPS,
    ).with_columns(batch_tokens=pl.col("train_tokens") / pl.col("total_steps"), learning_rate="peak_lr")
    cells = [make_cell(float(k[0]), float(k[1]), g) for k, g in sorted(runs.group_by("N_no_emb", "D"))]  # type: ignore[arg-type]
    return [c for c in cells if len(c.points) > 1]


def hagele(data: Path) -> list[Cell]:
    """Cells by horizon and schedule at 124M."""
    runs = pl.read_csv(data / "lr-scheduling-hagele" / "runs.csv")
    cosine = (pl.col("scheduler") == "cos") & pl.col("cos_final_lr").is_between(0, 1e-5)
    cooled = (pl.col("scheduler") == "wsd") & (pl.col("wsd_fract_decay") >= 0.2)
    cooldown = pl.format("{} {}", pl.col("decay_type").fill_null("linear"), "wsd_fract_decay")
    runs = runs.filter(pl.col("parameters") == 123_587_328, cosine | cooled).with_columns(
        learning_rate="peak_lr",
        batch_tokens=pl.col("tokens_per_step").cast(pl.Float64),
        loss="final_val_loss",
        schedule=pl.when(cosine).then(pl.lit("cos")).otherwise(cooldown),
    )
    groups = sorted(runs.group_by("total_tokens", "schedule"))
    cells = [make_cell(float(HAGELE_N), float(str(k[0])), g) for k, g in groups]
    return [c for c in cells if len(c.points) > 2]


def lingle_cells() -> LabCells:
    """Optima: the grid's half step and the flatness of the valley around it."""
    o = lingle()
    found = []
    for i in np.argsort(o.params * o.tokens):
        point = np.log([[o.learning_rate[i], o.batch_tokens[i]]])
        cell = Cell(
            params=float(o.params[i]),
            active_params=float(o.params[i]),
            tokens=float(o.tokens[i]),
            seq_len=2048,
            points=point,
            log_loss=np.log(o.loss[[i]]),
        )
        batch = "fixed" if o.batch_tokens[i] == 2.0**21 else "inside" if o.interior_batch[i] else "lowest"
        found.append(optimum(cell, (0.35, 0.5), batch))
    return LabCells(name="Lingle", evidence=tuple(found))


def optimum(cell: Cell, octaves: tuple[float, float], batch: str = "inside") -> Evidence:
    """A reported optimum with its uncertainty; `lowest`: at the lowest batch tried; `fixed`: the batch was not tuned."""
    from scipy.special import log_ndtr

    e = evidence(cell, landscapes()["step-law"])
    a, b = (
        (axis - at) / (sd * OCTAVE) for axis, at, sd in zip((e.rates, e.batches), cell.points[0], octaves, strict=True)
    )
    along_batch: Array = {"inside": -0.5 * b**2, "lowest": log_ndtr(-b), "fixed": np.zeros_like(b)}[batch]
    rates: NDArray[np.float64] = a[:, None]
    if batch == "fixed":
        ridge = landscapes()["step-law"].ridge
        rates = a[:, None] - ridge * b * octaves[1] / octaves[0]
    logs = -0.5 * rates**2 + along_batch
    return Evidence(cell=cell, rates=e.rates, batches=e.batches, log_likelihood=logs - logs.max(), kind="optimum")
