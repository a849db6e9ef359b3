"""Measured optima of five labs in one shape: non-vocabulary N, tokens, best batch and learning rate.

Which cells count:
- A best value at the end of its sweep bounds the optimum on one side only: the cell is left out for that quantity
  (`interior_lr`, `interior_batch`), on whichever side a law lies.
- Batches count only where the lab tuned them (Lingle, Marin, Step Law).
- Lingle: 18 optima typed from the blog; the grid is B 2^15 to 2^21 and lr 2^-13 to 2^-7. His run of 4.7B parameters and
  1e11 tokens is a 19th cell of the same lab, for the learning rate only: its batch (2.1M) was given.
- Marin: AdamW's best of 4, 8, 16, 32e-3 and of 128 to 1024 sequences of 4096, the other settings held. N is 512 h^2 (32
  layers, ffn 4h; h 512, 768, 1024; experiments/optimizer_sweep), D is 20 N times the multiple: the "130M" that the run
  names' tokens confirm. 16 x Chinchilla was run at one setting: no optimum. Two best settings as published (300M at 2 and
  8 x) end 0.07 and 0.02 % above the same with lr 4e-3, the sweep's lowest: these two are at the end.
- misfitting: about three rates per (N, D), 2 to 2.5 times apart, batch 1.05M, kept from 10 tokens per parameter and 1000
  steps on. Most best rates are the highest tried, and left out.
- Hagele (Schaipp's runs): 124M in all, 84.9M non-vocabulary, batch 0.1M; best rate per horizon and schedule, of cosine
  to (nearly) zero and of linear or 1-sqrt cool-downs over at least a fifth of the run, three rates or more.
- Step Law: geometric means of lr and batch over the runs within 0.25 % of the cell's best (the authors' filter): smoother
  than the best run alone. Dense cells for dense laws, cells of experts for laws of experts.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from step_law_fits import cells

from forescale.fit import Cell
from forescale.fit._optima import centroids

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
LINGLE = Path(__file__).with_name("lingle_optima.csv")
LINGLE_LARGE = {"params": 4.7e9, "tokens": 1e11, "batch_tokens": 2.0**21, "learning_rate": 2.44e-4}  # facts 2.5
MARIN_WIDTHS = {"130m": 512, "300m": 768, "520m": 1024}
MARIN_VOCABULARY = 128_256  # Llama 3's: the released speed runs' parameters are layers plus 2 x 128256 h plus norms
LEAST_TOKENS_PER_PARAM = 10
LEAST_STEPS = 1000
HAGELE_N = 12 * (4 * 768**2 + 3 * 768 * 2048)  # with the tied vocabulary of 50304 and 25 norms: the listed 123587328


@dataclass(frozen=True, kw_only=True)
class Optima:
    """One lab's best (batch, learning rate) per cell; `params` is non-vocabulary, `loss` NaN where unknown."""

    lab: str
    params: Array
    tokens: Array
    batch_tokens: Array
    learning_rate: Array
    loss: Array
    active_params: Array
    interior_lr: Mask
    interior_batch: Mask

    def counted(self, quantity: str) -> Optima:
        """Only the cells whose best value of `quantity` was tuned and is no end of its sweep."""
        return self.where(self.interior_lr if quantity == "learning_rate" else self.interior_batch)

    def where(self, mask: Mask) -> Optima:
        """Only those cells."""
        arrays = {f.name: getattr(self, f.name)[mask] for f in fields(self) if f.name != "lab"}
        return replace(self, **arrays)


def all_labs(data: Path) -> list[Optima]:
    """Every lab; the Step Law sweep twice, as dense cells and as cells of experts."""
    sweeps = [step_law(data, kind) for kind in ("dense", "moe")]
    return [lingle(), marin(data), misfitting(data), hagele(data), *sweeps]


def lingle() -> Optima:
    """Lingle's 18 optima and his large run."""
    table = lingle_table()
    large = pl.DataFrame([LINGLE_LARGE | {"loss": float("nan")}]).select(table.columns)
    typed = np.arange(len(table) + 1) < len(table)
    table = pl.concat([table, large])
    return _optima("Lingle", table, batch=typed & (table["batch_tokens"] > 2**15).to_numpy())


def lingle_table() -> pl.DataFrame:
    """Lingle's 18 optima as typed."""
    return pl.read_csv(LINGLE, comment_prefix="#").cast(pl.Float64)


def marin(data: Path) -> Optima:
    """Marin's AdamW cells that were swept (1 to 8 x Chinchilla)."""
    runs = pl.read_csv(data / "marin-optimizer-sweep" / "ablations.csv", infer_schema_length=None)
    runs = runs.filter(optimizer="adamw").with_columns(pl.col("loss").cast(pl.Float64))
    rows = [_marin_cell(size, multiple, group) for (size, multiple), group in _swept(runs)]
    table = pl.DataFrame(rows)
    lr, batch = (table["learning_rate"] > 0.004).to_numpy(), (table["batch_tokens"] > 128 * 4096).to_numpy()
    return _optima("Marin", table.cast(pl.Float64), lr=lr, batch=batch)


def _swept(runs: pl.DataFrame) -> list[tuple[tuple[str, int], pl.DataFrame]]:
    groups = sorted(runs.group_by("model_size", "chinchilla_multiple"))
    return [(key, group) for key, group in groups if (group["changed_param"] == "learning_rate").any()]  # type: ignore[misc]


def _marin_cell(size: str, multiple: int, group: pl.DataFrame) -> dict[str, float]:
    base = group.row(by_predicate=pl.col("changed_param") == "Baseline", named=True)
    N = 512 * MARIN_WIDTHS[size] ** 2

    def best(param: str) -> float:
        tried = group.filter(pl.col("changed_param") == param).drop_nulls("loss")
        losses = dict(zip(tried["changed_value"].cast(pl.Float64), tried["loss"], strict=True))
        losses[float(base[f"baseline_{param}"])] = base["loss"]
        return min(losses, key=losses.__getitem__)

    return {
        "params": float(N),
        "tokens": 20.0 * N * multiple,
        "batch_tokens": 4096 * best("train_batch_size"),
        "learning_rate": best("learning_rate"),
        "loss": base["loss"],
    }


def misfitting(data: Path) -> Optima:
    """Best peak rate of each (N, D)."""
    runs = pl.read_csv(data / "misfitting" / "scaling_results_last_ckpt_only.csv")
    runs = runs.filter(
        pl.col("portion_steps_elapsed") > 0.999,
        pl.col("D") / pl.col("N_no_emb") >= LEAST_TOKENS_PER_PARAM,
        pl.col("total_steps") >= LEAST_STEPS,
    ).with_columns((pl.col("train_tokens") / pl.col("total_steps")).alias("batch_tokens"))
    return _best_rates("misfitting", runs, "N_no_emb", "D", "batch_tokens", rate="peak_lr", loss="loss")


def hagele(data: Path) -> Optima:
    """Best peak rate of each horizon and schedule at 124M."""
    runs = pl.read_csv(data / "lr-scheduling-hagele" / "runs.csv")
    cosine = (pl.col("scheduler") == "cos") & pl.col("cos_final_lr").is_between(0, 1e-5)
    cooled = (pl.col("scheduler") == "wsd") & (pl.col("wsd_fract_decay") >= 0.2)
    cooldown = pl.format("{} {}", pl.col("decay_type").fill_null("linear"), "wsd_fract_decay")
    runs = runs.filter(pl.col("parameters") == 123_587_328, cosine | cooled).with_columns(
        N=pl.lit(HAGELE_N), schedule=pl.when(cosine).then(pl.lit("cos")).otherwise(cooldown)
    )
    keys = ("N", "total_tokens", "tokens_per_step", "schedule")
    return _best_rates("Hagele", runs, *keys, rate="peak_lr", loss="final_val_loss")


def _best_rates(lab: str, runs: pl.DataFrame, *keys: str, rate: str, loss: str) -> Optima:
    """The rate with the lowest loss of each cell that tried three rates or more; the batch was fixed."""
    by_rate = runs.group_by(*keys, rate).agg(pl.min(loss))
    rows = [_best_rate(key, group, rate, loss) for key, group in sorted(by_rate.group_by(keys)) if len(group) >= 3]
    table = pl.DataFrame(rows)
    inside = table["inside"].to_numpy() > 0
    return _optima(lab, table, lr=inside, batch=np.zeros(len(table), dtype=bool))


def _best_rate(key: tuple[object, ...], group: pl.DataFrame, rate: str, loss: str) -> dict[str, float]:
    params, tokens, batch = (float(str(k)) for k in key[:3])
    best = group.sort(loss, rate).row(0, named=True)
    return {
        "params": params,
        "tokens": tokens,
        "batch_tokens": batch,
        "learning_rate": best[rate],
        "loss": best[loss],
        "inside": float(group[rate].min() < best[rate] < group[rate].max()),  # type: ignore[operator]
    }


def step_law(data: Path, kind: str) -> Optima:
    """The released Step Law sweep, `dense` or `moe`."""
    table = pl.DataFrame([_step_law_cell(c) for c in cells(data, kind)])
    name = "Step Law sweep" if kind == "dense" else "Step Law experts"
    return _optima(name, table, active=table["active_params"].to_numpy())


def _step_law_cell(c: Cell) -> dict[str, float]:
    learning_rate, batch_tokens = np.exp(centroids([c]).at[0])
    return {
        "params": c.params,
        "tokens": c.tokens,
        "batch_tokens": float(batch_tokens),
        "learning_rate": float(learning_rate),
        "loss": c.minimum,
        "active_params": c.active_params,
    }


def _optima(
    lab: str, table: pl.DataFrame, *, lr: Mask | None = None, batch: Mask | None = None, active: Array | None = None
) -> Optima:
    columns = ("params", "tokens", "batch_tokens", "learning_rate", "loss")
    arrays = {c: table[c].cast(pl.Float64).to_numpy() for c in columns}
    everywhere = np.ones(len(table), dtype=bool)
    return Optima(
        lab=lab,
        **arrays,
        active_params=arrays["params"] if active is None else active,
        interior_lr=everywhere if lr is None else lr,
        interior_batch=everywhere if batch is None else batch,
    )
