"""How far the catalog's laws are from other labs' measured optima, in octaves (log2), every lab counting once.

For each lab the mean square of log2(predicted / observed) over its cells (`labs` says which count); then the root of the
mean over labs. A law's learning rate is compared at the lab's batch: where the law predicts a batch (in a known unit), its
rate is moved along Step Law's ridge (0.44 octaves an octave of batch), as a plan moves it; otherwise a difference of batch
would count as an error of the rate. The ridge was measured on runs within 2 % of the best, about two octaves of batch:
cells whose batch is farther from the law's are left out. A law is not judged on what it was fitted on or chosen by (`OWN`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from labs import Optima, all_labs, lingle_table
from numpy.typing import NDArray

from forescale.laws import Z80, Law, law, names

Array = NDArray[np.float64]
QUANTITIES = ("learning_rate", "batch_tokens")
INPUTS = {"params", "tokens", "compute", "flops_per_token", "tokens_per_param", "active_share", "loss"}
STEP_LAW = {"Step Law sweep", "Step Law experts"}
NOUNS = {"learning_rate": "learning rates", "batch_tokens": "batches"}
FAR = 2.0  # octaves of batch
OWN = {
    "step-law": STEP_LAW,
    "step-law-moe": STEP_LAW,
    "step-law-pooled": STEP_LAW,
    "steplaw-refit": STEP_LAW,
    "bjorck-absolute": STEP_LAW,  # its constant was chosen between two by that sweep
    "schaipp": STEP_LAW,  # whether it was fitted on that sweep is not known
    "lingle": {"Lingle"},  # his large run too: not fitted on, but not another lab
}


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """One law's errors in one quantity: log2(predicted / observed) of every counted cell, by lab."""

    law: Law
    quantity: str
    by_lab: dict[str, Array]

    @property
    def octaves(self) -> float:
        """Root of the mean over labs of the mean squares."""
        return float(np.sqrt(np.mean([np.mean(e**2) for e in self.by_lab.values()])))

    @property
    def biases(self) -> dict[str, float]:
        """Geometric mean of predicted over observed, by lab."""
        return {lab: float(2 ** e.mean()) for lab, e in self.by_lab.items()}

    @property
    def measured_on(self) -> str:
        """One line for the catalog."""
        parts = [f"{lab} x{bias:.2f} ({len(self.by_lab[lab])})" for lab, bias in self.biases.items()]
        listed = ", ".join([parts[0].replace(")", " cells)"), *parts[1:]])
        at = " at the lab's batch" if self.quantity == "learning_rate" and _has_batch(self.law) else ""
        remarks = "".join(f"; {r}" for r in self._remarks())
        return f"{listed}: geometric-mean ratio of predicted to observed{at}, rms over labs{remarks}"

    def _remarks(self) -> list[str]:
        inputs, experts = self.law.formula(self.quantity).inputs, "Step Law experts" in self.by_lab
        remarks = {
            "dense models only": self.law.experts == "moe" and not experts,
            "dense models but the experts": self.law.experts == "moe" and experts,
            "C = 6 N D": "compute" in inputs,
            "N without the head": self.law.params_means == "non-vocabulary and head",
            "given the measured loss": "loss" in inputs,
        }
        return [text for text, holds in remarks.items() if holds]


def hyperparameter_transfer(data: Path) -> Iterator[Transfer]:
    """The errors of every law and quantity that the labs can judge."""
    labs = all_labs(data)
    for name in names():
        judged = law(name)
        for quantity in QUANTITIES:
            if quantity in judged.predicts and set(judged.formula(quantity).inputs) <= INPUTS:
                yield transfer(judged, quantity, labs)


def transfer(judged: Law, quantity: str, labs: list[Optima]) -> Transfer:
    """The errors of one law on the labs that are not its own."""
    sweep = "Step Law experts" if judged.experts == "moe" else "Step Law sweep"
    others = [o for o in labs if o.lab not in OWN.get(judged.name, set()) and o.lab not in STEP_LAW - {sweep}]
    counted = [(o.lab, comparable(judged, quantity, o)) for o in others]
    errors = {lab: octaves_off(judged, quantity, o) for lab, o in counted if len(o.params)}
    return Transfer(law=judged, quantity=quantity, by_lab=errors)


def comparable(judged: Law, quantity: str, o: Optima) -> Optima:
    """The lab's cells that count for this law: tuned, inside their sweep and, for a rate, near enough to its batch."""
    counted = o.counted(quantity)
    return counted.where(np.abs(_batch_octaves(judged, counted)) <= FAR) if quantity == "learning_rate" else counted


def octaves_off(judged: Law, quantity: str, o: Optima, *, at_their_batch: bool = True) -> Array:
    """log2(predicted / observed) of every cell; the learning rate at the lab's batch, or at the law's own."""
    octaves = np.log2(judged.predict(quantity, **variables(judged, o)) / getattr(o, quantity))
    moved = quantity == "learning_rate" and at_their_batch
    return octaves + _ridge() * _batch_octaves(judged, o) if moved else octaves


def _batch_octaves(judged: Law, o: Optima) -> Array:
    """log2 of the lab's batch over the law's own; 0 where it has none."""
    if not _has_batch(judged):
        return np.zeros_like(o.params)
    return np.log2(o.batch_tokens / judged.predict("batch_tokens", **variables(judged, o)))


def _has_batch(judged: Law) -> bool:
    """Whether the law predicts a batch, in a unit that is known."""
    return "batch_tokens" in judged.predicts and judged.formula("batch_tokens").evidence != "unverified"


def variables(judged: Law, o: Optima) -> dict[str, Any]:
    """A lab's cells in the law's terms; C is 6 N D, with the active N where experts have one."""
    N = o.active_params if judged.params_means == "active non-vocabulary" else o.params
    return {
        "params": N,
        "tokens": o.tokens,
        "tokens_per_param": o.tokens / N,
        "flops_per_token": 6 * o.active_params,
        "compute": 6 * o.active_params * o.tokens,
        "active_share": o.active_params / o.params,
        "loss": o.loss,
    }


def _ridge() -> float:
    landscape = law("step-law").landscape
    assert landscape is not None
    return landscape.ridge


def coverage(errors: Transfer, labs: list[Optima]) -> dict[str, tuple[int, int]]:
    """By lab, how many of its counted cells lie in the law's 80 % interval (the fit's own and these errors), and of all."""
    formula, inside = errors.law.formula(errors.quantity), {}
    for o in labs:
        if o.lab in errors.by_lab:
            off, x = errors.by_lab[o.lab], variables(errors.law, comparable(errors.law, errors.quantity, o))
            own = [formula.log_sd({k: float(v[i]) for k, v in x.items()}) or 0.0 for i in range(len(off))]
            sd = np.hypot(np.array(own) / np.log(2), errors.octaves)
            inside[o.lab] = int((np.abs(off) <= Z80 * sd).sum()), len(off)
    return inside


def coverage_note(data: Path, name: str) -> str:
    """One sentence for a law's notes: the share of cells inside its 80 % intervals."""
    labs, parts = all_labs(data), []
    for quantity in QUANTITIES:
        shares = coverage(transfer(law(name), quantity, labs), labs)
        mean = np.mean([inside / cells for inside, cells in shares.values()])
        listed = ", ".join(f"{lab} {inside} of {cells}" for lab, (inside, cells) in shares.items())
        parts.append(f"{100 * mean:.0f} % of their best {NOUNS[quantity]} (mean over labs: {listed})")
    return (
        f"On the other labs' cells, the 80 % intervals hold {' and '.join(parts)}. The same cells set the width; the "
        "errors are mostly one bias for each lab, of either sign, so another lab's runs can all lie outside."
    )


def lingle_fit() -> dict[str, tuple[Array, Array]]:
    """Least squares of the logarithms of lr and batch on (1, ln N, ln D): coefficients and their covariance."""
    table = lingle_table()
    X = np.c_[np.ones(len(table)), table.select("params", "tokens").to_numpy()]
    X[:, 1:] = np.log(X[:, 1:])
    return {q: _least_squares(X, np.log(table[q].to_numpy())) for q in QUANTITIES}


def _least_squares(X: Array, y: Array) -> tuple[Array, Array]:
    theta, rss, *_ = np.linalg.lstsq(X, y)
    return theta, np.linalg.inv(X.T @ X) * float(rss[0]) / (len(y) - X.shape[1])
