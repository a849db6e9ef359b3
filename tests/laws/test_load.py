from __future__ import annotations

import re
from pathlib import Path

import pytest

from forescale.errors import ForescaleError, UnknownNameError
from forescale.laws import law

GOOD = """\
name = "mine"
kind = "hyperparameters"

[source]
paper = "our own sweep"
reference = "https://example.org"
evidence = "computed"

[range]
params = [1e8, 1e9]

[predicts.learning_rate]
family = "power"
constants = { coefficient = 1.5 }
exponents = { params = -0.5 }
covariance_of = ["params"]
covariance = [[0.01]]
"""


def _write(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_law_of_your_own(tmp_path: Path) -> None:
    found = law(_write(tmp_path, GOOD))
    assert (found.name, found.title, found.params_means, found.experts) == ("mine", "mine", "non-vocabulary", "dense")
    assert found.origin == str(tmp_path / "mine.toml")
    assert found.predict("learning_rate", params=1e8) == pytest.approx(1.5e-4)


BAD = {
    "no name": ('name = "mine"\n', "", "needs 'name', a text"),
    "no kind": ('kind = "hyperparameters"\n', "", "needs 'kind', one of hyperparameters, loss, rule"),
    "wrong kind": ('kind = "hyperparameters"', 'kind = "magic"', "got 'magic'"),
    "no reference": ('reference = "https://example.org"\n', "", "source needs 'reference', a text"),
    "unknown key": ('kind = "hyper', 'sort = "x"\nkind = "hyper', "unknown key 'sort'"),
    "unknown formula key": ('family = "power"', 'family = "power"\nslope = 1', "unknown key 'slope'"),
    "unknown family": ('family = "power"', 'family = "cubic"', "got 'cubic'"),
    "no family": ('family = "power"\n', "", "needs 'family'"),
    "no constant": ("coefficient", "c", "needs the constants coefficient"),
    "no exponents": ("exponents = { params = -0.5 }\n", "", "needs exponents"),
    "constant is a text": ("coefficient = 1.5", 'coefficient = "1.5"', "must be a finite number; got '1.5'"),
    "constant is nan": ("coefficient = 1.5", "coefficient = nan", "must be a finite number; got nan"),
    "constant is infinite": ("coefficient = 1.5", "coefficient = inf", "must be a finite number; got inf"),
    "constant is a bool": ("coefficient = 1.5", "coefficient = true", "must be a finite number; got True"),
    "constants are a number": ("constants = { coefficient = 1.5 }", "constants = 1.5", "constants must be a table"),
    "reversed range": ("[1e8, 1e9]", "[1e9, 1e8]", "must be [low, high] with low <= high"),
    "range of one": ("[1e8, 1e9]", "[1e8]", "must be [low, high]"),
    "range is a number": ("[1e8, 1e9]", "1e8", "must be [low, high]"),
    "covariance too small": ("[[0.01]]", "[]", "must be 1 by 1"),
    "covariance of nothing": ('["params"]', '["tokens"]', "states an uncertainty of 'tokens'"),
    "covariance is a text": ("[[0.01]]", '[["x"]]', "value of the wrong type"),
    "maximum is a text": ('family = "power"', 'family = "power"\nmaximum = "x"', "value of the wrong type"),
    "unknown evidence": ('evidence = "computed"', 'evidence = "sure"', "got 'sure'"),
    "unknown params": ('kind = "hyper', 'params_means = "some"\nkind = "hyper', "got 'some'"),
    "unknown experts": ('kind = "hyper', 'experts = "few"\nkind = "hyper', "got 'few'"),
    "source is a text": ("[source]\npaper", 'source = "x"\n[conditions]\npaper', "source must be a table"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_says_what_is_wrong(tmp_path: Path, case: str) -> None:
    old, new, message = BAD[case]
    assert old in GOOD
    path = _write(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(ForescaleError, match=re.escape(message)) as caught:
        law(path)
    assert str(path) in str(caught.value)


def test_a_file_without_predictions(tmp_path: Path) -> None:
    path = _write(tmp_path, GOOD.split("[predicts")[0])
    with pytest.raises(ForescaleError, match=re.escape("a table [predicts] is required")):
        law(path)
    path = _write(tmp_path, GOOD.split("[predicts")[0] + "[predicts]\n")
    with pytest.raises(ForescaleError, match="predicts needs at least one quantity"):
        law(path)


def test_a_landscape_must_pass_through_zero(tmp_path: Path) -> None:
    landscape = """
[landscape]
learning_rate_octaves = [-1, 1]
learning_rate_loss_gap_percent = [1, 1]
batch_tokens_octaves = [-1, 0, 1]
batch_tokens_loss_gap_percent = [1, 0, 1]
interaction_percent = 0.2
ridge = 0.4
source = "ours"
"""
    with pytest.raises(ForescaleError, match="ascending octaves through 0"):
        law(_write(tmp_path, GOOD + landscape))


def test_not_toml(tmp_path: Path) -> None:
    with pytest.raises(ForescaleError, match="is not valid TOML"):
        law(_write(tmp_path, "name = mine"))
    path = tmp_path / "binary.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ForescaleError, match="is not valid TOML"):
        law(path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ForescaleError, match="cannot be read"):
        law(tmp_path / "absent.toml")


def test_an_unknown_name_lists_the_catalog() -> None:
    with pytest.raises(UnknownNameError, match="no law is named 'step_law'") as caught:
        law("step_law")
    assert "step-law" in str(caught.value)
