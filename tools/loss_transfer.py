"""How far absolute losses of the catalog's loss laws are from those of other labs' runs, in octaves (log2).

Losses are nats per token of each lab's own tokenizer and corpus, so this measures corpora and tokenizers as much as laws:
it is the error of a loss law on a corpus that it has not seen. Only runs with at least 10 tokens per parameter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from labs import LEAST_TOKENS_PER_PARAM, MARIN_VOCABULARY, MARIN_WIDTHS
from numpy.typing import NDArray
from step_law_fits import cells

from forescale.laws import Law, law, names

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Runs:
    """Best runs of a lab: all parameters (or what is given), non-vocabulary ones where known, tokens, loss."""

    params: Array
    non_vocabulary: Array
    tokens: Array
    loss: Array


def loss_transfer(data: Path) -> Iterator[tuple[str, float, str]]:
    """(law, octaves rms over labs, labs with their mean log2 of predicted over observed)."""
    labs = {name: read(data) for name, read in LABS.items()}
    for name in names():
        judged = law(name)
        if _comparable(judged):
            means = {lab: _mean_octaves(judged, runs) for lab, runs in labs.items() if lab not in name}
            octaves = float(np.sqrt(np.mean(np.square(list(means.values())))))
            listed = ", ".join(f"{lab} {value:+.3f}" for lab, value in means.items())
            yield name, octaves, f"mean log2(predicted / observed) by lab, tokenizers differ: {listed}"


def _comparable(judged: Law) -> bool:
    """Whether the law predicts nats per token from N and D of a dense run on text."""
    formula = judged.predicts.get("loss")
    return formula is not None and formula.unit == "nats per token" and "sparsity" not in formula.inputs


def _mean_octaves(judged: Law, runs: Runs) -> float:
    N = runs.params if judged.params_means in ("all", "unstated") else runs.non_vocabulary
    D = runs.tokens
    x: dict[str, Any] = {"params": N, "tokens": D, "compute": 6 * N * D, "unique_tokens": D}
    return float(np.log2(judged.predict("loss", **x) / runs.loss).mean())


def _step_law(data: Path) -> Runs:
    group = cells(data, "dense")
    N, D, L = (np.array([getattr(c, k) for c in group]) for k in ("params", "tokens", "minimum"))
    return _runs(N, N, D, L)


def _misfitting(data: Path) -> Runs:
    table = pl.read_csv(data / "misfitting" / "scaling_results_last_ckpt_only.csv")
    best = table.filter(pl.col("portion_steps_elapsed") > 0.999).group_by("N", "N_no_emb", "D").agg(pl.min("loss"))
    return _columns(best, "N", "N_no_emb", "D", "loss")


def _gadre(data: Path) -> Runs:
    table = pl.read_csv(data / "gadre-overtraining" / "models_flat.csv").filter(dataset_name="c4_original")
    return _columns(table, "params", "params_no_embed", "tokens", "loss_c4_val")


def _porian(data: Path) -> Runs:
    table = pl.read_csv(data / "porian-compute-optimal" / "optimal_pairs.csv")
    tuned = table.filter(hparams="tuned", param_count="standard", val="val").drop_nulls(["n", "loss"])
    return _columns(tuned, "n", "n", "t", "loss")


def _marin(data: Path) -> Runs:
    best = pl.read_csv(data / "marin-optimizer-sweep" / "best_configs.csv").filter(optimizer="adamw")
    width = np.array([MARIN_WIDTHS[size] for size in best["model_size"]], dtype=float)
    layers = 512 * width**2
    tokens = 20 * layers * best["chinchilla_multiple"].to_numpy()
    return _runs(layers + 2 * MARIN_VOCABULARY * width, layers, tokens, best["min_loss"].to_numpy())


def _hagele(data: Path) -> Runs:
    table = pl.read_csv(data / "lr-scheduling-hagele" / "runs.csv")
    best = table.group_by("dataset", "parameters", "total_tokens").agg(pl.min("final_val_loss"))
    return _columns(best, "parameters", "parameters", "total_tokens", "final_val_loss")


def _columns(table: pl.DataFrame, *columns: str) -> Runs:
    return _runs(*(table[c].cast(pl.Float64).to_numpy() for c in columns))


def _runs(params: Array, non_vocabulary: Array, tokens: Array, loss: Array) -> Runs:
    enough = tokens / params >= LEAST_TOKENS_PER_PARAM
    order = np.lexsort((tokens, params))
    kept = order[enough[order]]
    return Runs(params=params[kept], non_vocabulary=non_vocabulary[kept], tokens=tokens[kept], loss=loss[kept])


LABS: dict[str, Callable[[Path], Runs]] = {
    "step-law": _step_law,
    "misfitting": _misfitting,
    "gadre": _gadre,
    "porian": _porian,
    "marin": _marin,
    "hagele": _hagele,
}
