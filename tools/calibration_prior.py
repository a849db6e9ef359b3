"""Learn what each lab says of the laws' coefficients and write the prior that calibration starts from.

Usage: python tools/calibration_prior.py [--check]. Reads FORESCALE_DATA (default: ../shared/data beside the repository) and
the catalog; writes src/forescale/fit/calibrate/prior.toml, or exits 1 if that differs from what it would write by more than
a millionth of the precision.

Published laws without released runs count as the optima that they state at a few workloads of their measured range, each
known to 0.35 octaves of learning rate and 0.5 of batch, as reported optima are. Laws that are unverified, or whose range is
not known, do not count.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lab_cells import hagele, landscapes, lingle_cells, marin, misfitting, optimum, seen, step_law_cells

from forescale.fit import Cell, data_hash
from forescale.fit.calibrate._belief import SIZE, information, product
from forescale.fit.calibrate._evidence import Evidence
from forescale.fit.calibrate._prior import start
from forescale.laws import law, variables
from forescale.runs import read_runs
from forescale.workload import Workload

ROOT = Path(__file__).resolve().parent.parent
PRIOR = ROOT / "src" / "forescale" / "fit" / "calibrate" / "prior.toml"
REPORTED = (0.35, 0.5)  # octaves (sd) of a reported optimum: half a step of the usual grids, and the flat valley
ALLOCATION = 20.0  # tokens per parameter along which laws of compute alone were measured
LING_SHARE = 0.078  # of the parameters are active in Ling's sweep


def main() -> int:
    """Write or check the prior."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the file; exit 1 on a difference")
    check = parser.parse_args().check
    data = Path(os.environ.get("FORESCALE_DATA", ROOT / ".." / "shared" / "data"))
    tables = {name: table(*parts) for name, *parts in labs(data)}
    if not check:
        PRIOR.write_text("\n".join(toml(tables)) + "\n", encoding="utf-8")
        return 0
    wrong = list(differences(tables, tomllib.loads(PRIOR.read_text(encoding="utf-8"))["labs"]))
    print("\n".join(wrong) or f"{len(tables)} labs of the prior agree with the data and the catalog.")
    return 1 if wrong else 0


def labs(data: Path) -> Iterator[tuple[str, Sequence[Evidence], str, str, Sequence[str]]]:
    """Name, cells, source, evidence label and hashes of the tables of runs of each lab."""
    dense, moe = (seen(step_law_cells(data, kind), landscapes()[name]) for kind, name in KINDS)
    yield (
        "Step Law",
        (*dense, *moe),
        "arXiv:2503.04715, released dense and MoE sweeps",
        "computed",
        step_law_hashes(data),
    )
    usual = landscapes()["step-law"]
    yield "Marin", seen(marin(data), usual), "arXiv:2509.02046, AdamW rows of the released sweep", "computed", ()
    yield "misfitting", seen(misfitting(data), usual), "arXiv:2502.18969, released runs", "computed", ()
    yield "Hagele", seen(hagele(data), usual), "arXiv:2405.18392 and 2501.18965, released runs", "computed", ()
    yield "Lingle", lingle_cells().evidence, "lucaslingle.substack.com, part III, optima as posted", "primary", ()
    for name, title, workloads, evidence in published():
        source = law(name).source
        yield title, stated(name, workloads), f"{source.reference}, the law {name}", evidence, ()


KINDS = (("dense", "step-law"), ("moe", "step-law-moe"))


def published() -> Iterator[tuple[str, str, list[Workload], str]]:
    """Laws without released sweeps: catalog name, lab, workloads in the measured range, evidence label."""
    yield "deepseek", "DeepSeek", [chinchilla(C) for C in (1e17, 1e18, 1e19, 2e19)], "primary"
    yield "porian", "Porian", [dense(N, ALLOCATION * N) for N in (2.5e7, 5e7, 1.1e8)], "primary"
    spread = ((1.34e8, 3e9), (1.34e8, 3e10), (5e8, 1e10), (5e8, 1e11), (4.9e9, 1e11))
    yield "skaling-step", "Skaling", [dense(*w) for w in spread], "secondary"
    yield "ling-moe", "Ling", [mixture(N, ALLOCATION * N, LING_SHARE) for N in (5e7, 3e8, 1e9)], "primary"
    power = ((1.11e8, 2.2e9), (1.11e8, 2.2e10), (6.1e8, 1.2e10), (6.1e8, 1.2e11))
    yield "power-lines", "Power Lines", [dense(*w) for w in power], "secondary"


def dense(N: float, D: float) -> Workload:
    """A dense workload."""
    return Workload(params=N, tokens=D, seq_len=2048, source="a published law's range")


def mixture(active: float, D: float, share: float) -> Workload:
    """A mixture of experts by its active parameters and their share."""
    return Workload(
        params=active / share, active_params=active, tokens=D, seq_len=2048, source="a published law's range"
    )


def chinchilla(C: float) -> Workload:
    """The workload of C FLOPs at the usual allocation."""
    return dense(math.sqrt(C / 6 / ALLOCATION), math.sqrt(C / 6 * ALLOCATION))


def stated(name: str, workloads: Iterable[Workload]) -> list[Evidence]:
    """The law's own choices as reported optima; a law of batch alone says nothing of the rate."""
    chosen = law(name)
    found: list[Evidence] = []
    for w in workloads:
        x = variables(w, chosen)
        has_rate = "learning_rate" in chosen.predicts
        rate = chosen.predict("learning_rate", **x) if has_rate else 1e-3
        batch = chosen.predict("batch_tokens", **x)
        cell = Cell(
            params=w.params,
            active_params=w.active,
            tokens=w.tokens,
            seq_len=2048,
            points=np.log([[rate, batch]]),
            log_loss=np.zeros(1),
        )
        found.append(optimum(cell, (REPORTED[0] if has_rate else 1e3, REPORTED[1])))
    return found


def step_law_hashes(data: Path) -> list[str]:
    """Of the released tables, as the package reads them."""
    names = ("dense_lr_bs_loss.csv", "moe_lr_bs_loss.csv")
    return [data_hash(read_runs(data / "step-law" / name, seq_len=2048)) for name in names]


def table(cells: Sequence[Evidence], source: str, evidence: str, hashes: Sequence[str]) -> dict[str, Any]:
    """One lab's factor on the coefficients."""
    says = product(start(), information(start(), cells)).minus(start())
    return {"source": source, "evidence": evidence, "cells": len(cells), "hashes": list(hashes), "says": says}


def toml(tables: dict[str, dict[str, Any]]) -> Iterator[str]:
    """The file, line by line."""
    yield "# What each lab says of the coefficients, written by tools/calibration_prior.py."
    yield "# Order: learning rate (logarithm at N = 3e8 and D = 5e9; exponents of N, D, active share), batch alike."
    for name, t in tables.items():
        yield f'\n[labs."{name}"]\nsource = "{t["source"]}"\nevidence = "{t["evidence"]}"\ncells = {t["cells"]}'
        if t["hashes"]:
            yield f"hashes = [{', '.join(repr(h) for h in t['hashes'])}]"
        yield f"shift = {numbers(t['says'].shift)}"
        yield "precision = ["
        yield from (f"  {numbers(row[: i + 1])}," for i, row in enumerate(t["says"].precision))
        yield "]"


def numbers(values: Iterable[float]) -> str:
    """A TOML list."""
    return "[" + ", ".join(f"{v:.9g}" for v in values) + "]"


def differences(tables: dict[str, dict[str, Any]], written: dict[str, Any]) -> Iterator[str]:
    """What the file has that the data do not give."""
    if list(tables) != list(written):
        yield f"the file has {', '.join(written)}; the data give {', '.join(tables)}"
    for name in set(tables) & set(written):
        says, file = tables[name]["says"], written[name]
        precision = np.zeros((2 * SIZE, 2 * SIZE))
        precision[np.tril_indices(2 * SIZE)] = [x for row in file["precision"] for x in row]
        off = np.abs(np.tril(says.precision) - precision).max() / np.abs(says.precision).max()
        moved = np.abs(says.shift - file["shift"]).max() / np.abs(says.shift).max()
        if max(off, moved) > 1e-6:
            yield f"{name}: the file is {max(off, moved):.1g} of the largest entry from the data"


if __name__ == "__main__":
    sys.exit(main())
