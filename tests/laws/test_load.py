from __future__ import annotations

import re
from pathlib import Path

import pytest

from forescale.errors import ForescaleError, UnknownNameError
from forescale.laws import law, names
from forescale.laws._load import CATALOG
from forescale.laws._reader import is_covariance

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
    "covariance is a text": ("[[0.01]]", '[["x"]]', "covariance must be a finite number; got 'x'"),
    "maximum is a text": ('family = "power"', 'family = "power"\nmaximum = "x"', "maximum must be a finite number"),
    "maximum is nan": (
        'family = "power"',
        'family = "power"\nmaximum = nan',
        "maximum must be a finite number; got nan",
    ),
    "unit size of 0": ('family = "power"', 'family = "power"\nunit_size = 0', "unit_size must be above 0; got 0"),
    "input unit of 0": ('family = "power"', 'family = "power"\ninput_units = { params = 0 }', "must be above 0; got 0"),
    "exponent of 400": ("params = -0.5", "params = 400", "exponents.params must be from -20 to 20; got 400"),
    "exponent of a million": ("params = -0.5", "params = 1e6", "must be from -20 to 20"),
    "covariance is nan": ("[[0.01]]", "[[nan]]", "covariance must be a finite number; got nan"),
    "covariance is huge": ("[[0.01]]", "[[1e300]]", "the standard error of params must be at most 10"),
    "variance below 0": ("[[0.01]]", "[[-0.01]]", "symmetric and positive semidefinite"),
    "covariance is no list": ("[[0.01]]", "[0.01]", "must be a list of rows"),
    "interval of a billion": (
        'covariance_of = ["params"]\ncovariance = [[0.01]]',
        "intervals = { params = [-1e9, 1e9] }",
        "at most 10 wide",
    ),
    "interval beside the value": (
        'covariance_of = ["params"]\ncovariance = [[0.01]]',
        "intervals = { params = [0.1, 0.2] }",
        "must hold its value -0.5",
    ),
    "range of nothing": ("[1e8, 1e9]", "[0, 0]", "must not go below 0 and must end above it"),
    "range below 0": ("[1e8, 1e9]", "[-1, 1e9]", "must not go below 0"),
    "range is nan": ("[1e8, 1e9]", "[nan, 1e9]", "must be a finite number; got nan"),
    "newer schema": ('name = "mine"', 'schema_version = 99\nname = "mine"', "schema_version must be 1"),
    "name of the catalog": ('name = "mine"', 'name = "step-law"', "'step-law' is a law of the catalog"),
    "name of several words": ('name = "mine"', 'name = "[red]my law"', "name must be one word"),
    "notes are a text": ('kind = "hyper', 'notes = "x"\nkind = "hyper', "needs 'notes' as a list"),
    "formula is a number": (
        "[predicts.learning_rate]",
        "[predicts]\nloss = 1\n[predicts.learning_rate]",
        "predicts.loss must be a table",
    ),
    "transfer error without a place": (
        "[predicts",
        "[transfer_errors.loss]\noctaves = 1\n[predicts",
        "'measured_on', a text",
    ),
    "transfer error is nan": (
        "[predicts",
        '[transfer_errors.loss]\noctaves = nan\nmeasured_on = "x"\n[predicts',
        "octaves must be a finite number",
    ),
    "transfer error below 0": (
        "[predicts",
        '[transfer_errors.loss]\noctaves = -1\nmeasured_on = "x"\n[predicts',
        "octaves must be from 0 to 20",
    ),
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


LANDSCAPE = """
[landscape]
learning_rate_octaves = [-1, 0, 1]
learning_rate_loss_gap_percent = [1, 0, 1]
batch_tokens_octaves = [-1, 0, 1]
batch_tokens_loss_gap_percent = [1, 0, 1]
interaction_percent = 0.2
ridge = 0.4
source = "ours"
"""
BAD_LANDSCAPES = {
    "not through 0": ("rate_octaves = [-1, 0, 1]", "rate_octaves = [-1, 0.5, 1]", "ascending octaves through 0"),
    "single point": ("rate_octaves = [-1, 0, 1]", "rate_octaves = [0]", "ascending octaves through 0"),
    "flat": (
        "rate_loss_gap_percent = [1, 0, 1]",
        "rate_loss_gap_percent = [0, 0, 0]",
        "a loss gap of 0 at octave 0 that rises",
    ),
    "negative": ("rate_loss_gap_percent = [1, 0, 1]", "rate_loss_gap_percent = [-1, 0, 1]", "that rises on both sides"),
    "nan": ("rate_loss_gap_percent = [1, 0, 1]", "rate_loss_gap_percent = [nan, 0, 1]", "must be a finite number"),
    "ridge of a billion": ("ridge = 0.4", "ridge = 1e9", "landscape.ridge must be from -4 to 4"),
    "no ridge": ("ridge = 0.4\n", "", "landscape.ridge must be a finite number; got None"),
    "no slice": ("batch_tokens_octaves = [-1, 0, 1]\n", "", "landscape.batch_tokens needs ascending octaves"),
    "no interaction": ("interaction_percent = 0.2\n", "", "landscape.interaction_percent must be a finite number"),
    "no source": ('source = "ours"', "", "landscape needs 'source', a text"),
}


@pytest.mark.parametrize("case", BAD_LANDSCAPES)
def test_a_landscape_is_a_valley_around_zero(tmp_path: Path, case: str) -> None:
    old, new, message = BAD_LANDSCAPES[case]
    assert law(_write(tmp_path, GOOD + LANDSCAPE)).landscape is not None
    assert old in LANDSCAPE
    with pytest.raises(ForescaleError, match=re.escape(message)):
        law(_write(tmp_path, GOOD + LANDSCAPE.replace(old, new, 1)))


@pytest.mark.parametrize(
    ("matrix", "good"),
    [
        ([[1.0, 0.5], [0.5, 1.0]], True),
        ([[1.0, 1.0], [1.0, 1.0]], True),  # singular: two constants that move together
        ([[1.0, 0.5], [0.4, 1.0]], False),  # not symmetric
        ([[1.0, 2.0], [2.0, 1.0]], False),  # eigenvalues 3 and -1
        ([[0.0, 0.1], [0.1, 1.0]], False),  # a constant without error moves with none
        ([[1e12, 0.0], [0.0, 1e-12]], True),
    ],
)
def test_covariances_are_told_from_other_matrices(matrix: list[list[float]], good: bool) -> None:
    assert is_covariance(matrix) is good


@pytest.mark.parametrize("name", names())
def test_a_law_of_the_catalog_can_be_read_by_its_path(name: str) -> None:
    assert law(CATALOG / f"{name}.toml").name == name


def test_a_file_is_told_by_its_path(tmp_path: Path) -> None:
    path = _write(tmp_path, GOOD)
    assert (law(path).label, law("step-law").label) == (str(path), "step-law")


UNUSABLE = {
    "overflow": ("coefficient = 1.5", "coefficient = 1e308", {"params": 1e-300}, "no value|no finite"),
    "zero": ("params = -0.5", "sparsity = -1.0", {"sparsity": 0.0}, "a division by zero"),
    "no params": ("", "", {"params": 0}, "needs params as a number above 0; got 0"),
    "params below 0": ("", "", {"params": -1e9}, "needs params as a number above 0"),
    "params are a text": ("", "", {"params": "7B"}, "needs params as a number above 0; got '7B'"),
    "learning rate of 1": (
        "coefficient = 1.5",
        "coefficient = 1e6",
        {"params": 1e8},
        "law mine asks for a learning_rate of 1",
    ),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_a_law_without_a_usable_value_says_so(tmp_path: Path, case: str) -> None:
    old, new, x, message = UNUSABLE[case]
    text = GOOD.replace(old, new, 1).replace('["params"]', '["sparsity"]' if "sparsity" in new else '["params"]')
    with pytest.raises(ForescaleError, match=message):
        law(_write(tmp_path, text)).predict("learning_rate", **x)


def test_a_weight_decay_that_takes_all_of_a_weight_is_refused(tmp_path: Path) -> None:
    text = GOOD.replace("predicts.learning_rate", "predicts.weight_decay").replace("-0.5", "0.5")
    found = law(_write(tmp_path, text))  # 1.5e4 at 1e8 parameters
    assert found.predict("weight_decay", params=1e8, learning_rate=1e-5) == pytest.approx(1.5e4)
    with pytest.raises(ForescaleError, match="law mine asks for a weight_decay of 1 / learning_rate"):
        found.predict("weight_decay", params=1e8, learning_rate=1e-3)


def test_an_uncertainty_beyond_reason_is_refused(tmp_path: Path) -> None:
    found = law(_write(tmp_path, GOOD.replace("[[0.01]]", "[[20.0]]")))
    with pytest.raises(ForescaleError, match="the uncertainty of learning_rate spans"):
        found.formula("learning_rate").log_sd({"params": 1e9})  # sd 4.5 of an exponent of 1e9: 93 in the logarithm


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
