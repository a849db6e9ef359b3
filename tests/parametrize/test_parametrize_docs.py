"""What the page says: its code runs, its factors are the package's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from parametrize_models import NanoGPT, on_meta

import forescale
from forescale.parametrize import SCHEMES, everett_exponents, parametrization
from forescale.workload import Shape

PAGE = (Path(__file__).parents[2] / "docs/concepts/parametrize.md").read_text(encoding="utf-8")


def test_the_pages_code_runs() -> None:
    first, loop = re.findall(r"^```python\n(.*?)^```$", PAGE, re.M | re.S)
    names = {"torch": torch, "model": NanoGPT(128, 8, 2), "lr": 5e-3}
    exec(compile(first, "page", "exec"), names)
    exec(compile(loop, "page", "exec"), names)
    assert forescale.parametrize.check_learning_rates(names["optimizer"]) == pytest.approx(5e-3)


def test_the_page_has_a_line_for_every_scheme() -> None:
    assert tuple(re.findall(r"^\| `([\w-]+)` \|", PAGE, re.M)) == SCHEMES


def test_the_pages_table_in_numbers() -> None:
    m, depth, rho, r = 4.0, 8.0, 0.5, (2.0 / 8.0) ** 0.5
    alpha, base, model = 0.75, Shape(width=8, depth=1), on_meta(NanoGPT, 32, 8, 4)
    table = {  # hidden std, LR, decay, epsilon; residual branch, logits
        ("standard", ()): (1, 1, 1, 1, 1, 1),
        ("mup", ()): (m**-0.5, 1 / m, m, 1 / m, 1, 1 / m),
        ("completep", (("alpha", alpha),)): (
            *(m**-0.5, depth ** (alpha - 1) / m, m, depth**-alpha / m),
            *(depth**-alpha, 1 / m),
        ),
        ("completed-p", (("alpha", alpha), ("batch_ratio", 2.0), ("tokens_ratio", 8.0))): (
            *(m**-0.5, r * depth ** (alpha - 1) / m, r * m, depth**-alpha / (r * m)),
            *(depth**-alpha, 1 / m),
        ),
        ("supar", (("density", rho),)): ((m * rho) ** -0.5, 1 / (m * rho), m * rho, 1 / m, 1, 1 / m),
    }
    for (name, options), expected in table.items():
        rows = {r.name: r for r in parametrization(name, base=base, **dict(options)).table(model).rows}
        hidden = rows["transformer.h.0.mlp.c_fc.weight"]
        last, out = rows["transformer.h.0.mlp.c_proj.weight"], rows["lm_head.weight"]
        got = (
            hidden.init / 0.02,
            hidden.learning_rate,
            hidden.weight_decay,
            hidden.epsilon,
            last.multiplier,
            out.multiplier,
        )
        assert got == pytest.approx(expected), name
    umup = {r.name: r for r in parametrization("u-mup", base=base).table(model).rows}
    hidden, last = umup["transformer.h.0.mlp.c_fc.weight"], umup["transformer.h.0.mlp.c_proj.weight"]
    got = (hidden.init, hidden.learning_rate, hidden.weight_decay, hidden.epsilon, last.multiplier)
    assert got == pytest.approx((32**-0.5, 8**-0.5 / 32, 8**0.5 * 32, 1, 8**-0.5))


def test_four_rows_are_not_verified() -> None:
    from itertools import product

    forms, optimizers = ("standard", "ntk", "mup", "mean-field"), ("adam", "sgd", "adafactor")
    every = [everett_exponents(f, o, a) for f, o, a in product(forms, optimizers, ("full", "none"))]  # type: ignore[arg-type]
    assert sum(not e.verified for e in every) == 4
    assert "four rows that no source shows" in " ".join(PAGE.split())
