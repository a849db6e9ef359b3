"""A law written as TOML is read back as it was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forescale.errors import ForescaleError
from forescale.laws import Formula, Law, Source, law, names, save_law


@pytest.mark.parametrize("name", names())
def test_every_law_of_the_catalog_survives(name: str, tmp_path: Path) -> None:
    mine = replace(law(name), name=f"my-{name}")
    save_law(mine, tmp_path / "law.toml")
    assert replace(law(tmp_path / "law.toml"), origin="catalog") == mine


@settings(max_examples=50, deadline=None)
@given(
    st.floats(1e-300, 1e300),
    st.floats(-20, 20),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20),
)
def test_any_number_and_any_text_survive(coefficient: float, exponent: float, text: str) -> None:
    from tempfile import TemporaryDirectory

    formula = Formula(
        quantity="learning_rate",
        family="power",
        constants={"coefficient": coefficient},
        exponents={"params": exponent},
        note=text,
    )
    mine = Law(
        name="made",
        title=text,
        kind="hyperparameters",
        predicts={"learning_rate": formula},
        source=Source(paper=text, reference=text),
        conditions={text: text},
        notes=(text,),
    )
    with TemporaryDirectory() as folder:
        path = Path(folder) / "law.toml"
        save_law(mine, path)
        assert replace(law(path), origin="catalog") == mine


def test_where_it_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(ForescaleError, match=r"ending in \.toml"):
        save_law(law("step-law"), tmp_path / "law.json")
    with pytest.raises(ForescaleError, match="cannot be written"):
        save_law(law("step-law"), tmp_path / "nowhere" / "law.toml")
