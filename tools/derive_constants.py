"""Derive the constants that we compute ourselves, print them as TOML, or compare the catalog with them (--check).

Usage: python tools/derive_constants.py [--check]. Reads the folder FORESCALE_DATA (default: ../shared/data beside the
repository); writes nothing. `--check` exits 1 if a catalog value differs from the derived one in its printed digits
(covariances: by more than a millionth of the two standard deviations).
"""

from __future__ import annotations

import argparse
import os
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import critical_batch
import loss_fits
import loss_transfer
import numpy as np
import step_law_fits
import transfer

from forescale.laws._load import CATALOG

ROOT = Path(__file__).resolve().parent.parent
COVARIANCE_DIGITS = 8  # the matrices are nearly singular: fewer digits change the standard deviation they imply
CONSTANT_DIGITS = 6


@dataclass(frozen=True, kw_only=True)
class Derived:
    """One value of the catalog: the law's file, its table, its key; numbers are compared to `digits`."""

    law: str
    table: str
    key: str
    value: Any
    digits: int = CONSTANT_DIGITS


def main() -> int:
    """Print or check every derived value."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the catalog; exit 1 on a mismatch")
    check = parser.parse_args().check
    values = list(derived(Path(os.environ.get("FORESCALE_DATA", ROOT / ".." / "shared" / "data"))))
    if not check:
        print("\n".join(snippets(values)))
        return 0
    wrong = list(mismatches(values))
    print("\n".join(wrong) or f"{len(values)} values of the catalog agree with the data.")
    return 1 if wrong else 0


def derived(data: Path) -> Iterator[Derived]:
    """Every value that the catalog takes from data instead of from a paper."""
    yield from step_law(data)
    yield from refits(data)
    yield from landscapes(data)
    yield from losses(data)
    yield from transfers(data)
    yield from loss_transfers(data)


def step_law(data: Path) -> Iterator[Derived]:
    """The covariance of the published law, for both of its files."""
    lr, batch = step_law_fits.bootstrap_covariances(data)
    for name in ("step-law", "step-law-moe"):
        yield _covariance(name, "predicts.learning_rate", lr)
        yield _covariance(name, "predicts.batch_tokens", batch)


def refits(data: Path) -> Iterator[Derived]:
    """Our own power laws: coefficients and covariances."""
    dense, moe = (step_law_fits.cells(data, kind) for kind in ("dense", "moe"))
    lr, batch = step_law_fits.refit(dense)
    pooled_lr, pooled_batch = step_law_fits.refit(dense + moe, pooled=True)
    optima = transfer.lingle_fit()
    yield from _power("steplaw-refit", "learning_rate", lr)
    yield from _power("steplaw-refit", "batch_tokens", batch)
    yield from _power("step-law-pooled", "learning_rate", pooled_lr)
    yield from _power("step-law-pooled", "batch_tokens", pooled_batch)
    yield from _power("lingle", "learning_rate", optima["learning_rate"])
    yield from _power("lingle", "batch_tokens", optima["batch_tokens"])
    yield from _power("zhang-refit", "critical_batch_tokens", critical_batch.fit(data), inputs=("tokens",))


INPUTS = ("params", "tokens", "active_share")


def _power(name: str, quantity: str, fit: tuple[Any, Any], inputs: tuple[str, ...] = INPUTS) -> Iterator[Derived]:
    theta, covariance = fit
    table = f"predicts.{quantity}"
    exponents = dict(zip(inputs, map(float, theta[1:]), strict=False))
    yield Derived(law=name, table=table, key="constants", value={"coefficient": float(np.exp(theta[0]))})
    yield Derived(law=name, table=table, key="exponents", value=exponents)
    yield _covariance(name, table, covariance)


def _covariance(name: str, table: str, matrix: Any) -> Derived:
    return Derived(law=name, table=table, key="covariance", value=matrix.tolist(), digits=COVARIANCE_DIGITS)


def landscapes(data: Path) -> Iterator[Derived]:
    """Slices for experts (the dense ones in the catalog are of all 17 released cells); interaction and ridge of both."""
    for name, kind in (("step-law", "dense"), ("step-law-moe", "moe")):
        group = step_law_fits.cells(data, kind)
        if kind == "moe":
            for axis, values in zip(("learning_rate", "batch_tokens"), step_law_fits.slices(group), strict=True):
                yield _rounded(name, f"{axis}_octaves", list(values), 3)
                yield _rounded(name, f"{axis}_loss_gap_percent", list(values.values()), 3)
        interaction, ridge = step_law_fits.interaction_and_ridge(group)
        yield _rounded(name, "interaction_percent", interaction, 2)
        yield _rounded(name, "ridge", ridge, 2)
        low, high = step_law_fits.interval95(group, step_law_fits.interaction_and_ridge)
        yield Derived(law=name, table="landscape", key="source", value=_landscape_source(kind, len(group), low, high))


def _landscape_source(kind: str, cells: int, low: Any, high: Any) -> str:
    slices = "17 released dense cells" if kind == "dense" else f"{cells} released cells of experts, grid offsets"
    return (
        f"slices: medians over the {slices}; interaction and ridge: medians of a quadratic in each of {cells} cells, "
        f"95 % intervals over cells {low[0]:.2f} to {high[0]:.2f} % and {low[1]:.2f} to {high[1]:.2f}"
    )


def _rounded(name: str, key: str, value: Any, digits: int) -> Derived:
    return Derived(law=name, table="landscape", key=key, value=value, digits=digits)


def losses(data: Path) -> Iterator[Derived]:
    """Loss laws: Epoch's covariance, the Skaling form on the same points, Gadre's coefficients."""
    yield _covariance("epoch", "predicts.loss", loss_fits.epoch(data).covariance)
    yield from _constants("skaling", loss_fits.skaling(data))
    for name, fit in loss_fits.gadre(data).items():
        yield from _constants(name, fit)


def _constants(name: str, fit: loss_fits.Fit) -> Iterator[Derived]:
    yield Derived(law=name, table="predicts.loss", key="constants", value=fit.constants)
    yield _covariance(name, "predicts.loss", fit.covariance)


def transfers(data: Path) -> Iterator[Derived]:
    """Octaves from other labs' optima, and how many of these the default law's intervals hold."""
    for error in transfer.hyperparameter_transfer(data):
        table = f"transfer_errors.{error.quantity}"
        yield Derived(law=error.law.name, table=table, key="octaves", value=round(error.octaves, 2))
        yield Derived(law=error.law.name, table=table, key="measured_on", value=error.measured_on)
    yield Derived(law="step-law", table="", key="notes", value=transfer.coverage_note(data, "step-law"))


def loss_transfers(data: Path) -> Iterator[Derived]:
    """Octaves of absolute loss on other labs' runs."""
    for name, octaves, measured_on in loss_transfer.loss_transfer(data):
        yield Derived(law=name, table="transfer_errors.loss", key="octaves", value=round(octaves, 3))
        yield Derived(law=name, table="transfer_errors.loss", key="measured_on", value=measured_on)


def snippets(values: list[Derived]) -> Iterator[str]:
    """TOML lines, law by law."""
    for name in dict.fromkeys(v.law for v in values):
        yield f"\n# {name}.toml"
        mine = [v for v in values if v.law == name]
        for table in dict.fromkeys(v.table for v in mine):
            if table:
                yield f"[{table}]"
            yield from (f"{v.key} = {toml(v.value, v.digits)}" for v in mine if v.table == table)


def toml(value: Any, digits: int) -> str:
    """A value as TOML, numbers to `digits` significant digits, a matrix one row a line."""
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{k} = {toml(v, digits)}" for k, v in value.items()) + " }"
    if isinstance(value, list) and value and isinstance(value[0], list):
        return "[\n" + "".join(f"  {toml(row, digits)},\n" for row in value) + "]"
    if isinstance(value, list):
        return "[" + ", ".join(toml(v, digits) for v in value) + "]"
    return f"{value:.{digits}g}"


def mismatches(values: list[Derived]) -> Iterator[str]:
    """One line for each catalog value that is missing or differs in its printed digits."""
    for v in values:
        node: Any = tomllib.loads((CATALOG / f"{v.law}.toml").read_text(encoding="utf-8"))
        for part in filter(None, (*v.table.split("."), v.key)):
            node = node.get(part, {})
        agree = same_covariance(node, v.value) if v.key == "covariance" else same(node, v.value, v.digits)
        if not agree:
            yield f"{v.law}.toml [{v.table}] {v.key}: the catalog has {node}; the data give {toml(v.value, v.digits)}"


def same(found: Any, expected: Any, digits: int) -> bool:
    """Equal text (one of a list), or numbers equal to `digits` digits (one unit of the last is let pass)."""
    if isinstance(expected, dict) and isinstance(found, dict):
        return found.keys() == expected.keys() and all(same(found[k], expected[k], digits) for k in expected)
    if isinstance(expected, list) and isinstance(found, list):
        return len(found) == len(expected) and all(same(f, e, digits) for f, e in zip(found, expected, strict=True))
    if isinstance(expected, str) or not isinstance(found, (int, float)):
        return expected in found if isinstance(found, list) else found == expected
    return abs(found - expected) <= 1.5 * 10.0 ** (1 - digits) * abs(expected)


def same_covariance(found: Any, expected: Any) -> bool:
    """Equal to a millionth of the two standard deviations: what iterated fits repeat on another machine."""
    if np.shape(found) != np.shape(expected):
        return False
    sd = np.sqrt(np.diag(expected))
    return bool((np.abs(np.subtract(found, expected)) <= 1e-6 * np.outer(sd, sd)).all())


if __name__ == "__main__":
    sys.exit(main())
