"""A surface's file: an exact round trip, and one clear sentence for whatever is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from planted_surface import planted_runs

from forescale import ForescaleError
from forescale.fit.surface import Surface, fit_surface, load_surface, save_surface


@pytest.fixture(scope="module")
def surface() -> Surface:
    return fit_surface(planted_runs(noise=0.002, sizes=(1e8, 4e8)), name="planted")


def test_a_file_reads_back_exactly(surface: Surface, tmp_path: Path) -> None:
    save_surface(surface, tmp_path / "s.toml")
    again = load_surface(tmp_path / "s.toml")
    assert again == surface
    at = (2e8, 1e10, np.geomspace(1e-4, 1e-2, 5), 5e5)
    assert (again.predict(*at) == surface.predict(*at)).all()
    assert np.array_equal(again.interval(*at), surface.interval(*at))


def replaced(pattern: str, by: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        made, count = re.subn(pattern, by, text, count=1, flags=re.MULTILINE)
        assert count == 1, pattern
        return made

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (replaced('^kind = "surface"', 'kind = "law"'), "kind must be 'surface'"),
        (replaced("^schema_version = 1", "schema_version = 2"), "schema_version must be 1"),
        (replaced('^name = "planted"', "name = 3"), "name"),
        (replaced(r"^alpha = .*\n", ""), r"\[parameters\] needs alpha"),
        (replaced(r"^alpha = .*", "alpha = nan"), "finite"),
        (replaced(r"^alpha = .*", 'alpha = "a"'), "finite number"),
        (replaced(r"^beta = ", "gamma = 1.0\nbeta = "), "unknown key 'gamma'"),
        (replaced(r"^width = .*", "width = 0.0"), "width must be at least 0.001"),
        (replaced(r"^covariance_of = .*", 'covariance_of = ["alpha"]'), "in this order"),
        (replaced(r"^covariance = \[\n.*\n", "covariance = [\n"), "rows"),
        (replaced(r"^covariance = \[\n  \[[^,]*,", "covariance = [\n  [-1.0,"), "no negative variance"),
        (replaced(r"^cell_error = .*", "cell_error = -1.0"), "above 0"),
        (replaced(r"^batch_tokens = \[.*", "batch_tokens = [2.0, 1.0]"), "low <= high"),
        (replaced(r"^held = .*", 'held = ["nothing"]'), "no coefficient"),
        (lambda text: text + "\n[more]\nx = 1\n", "unknown key 'more'"),
        (lambda text: text[: len(text) // 2], "not valid TOML|needs|required"),
    ],
)
def test_a_malformed_file_is_one_sentence(
    surface: Surface, tmp_path: Path, change: Callable[[str], str], says: str
) -> None:
    path = tmp_path / "s.toml"
    save_surface(surface, path)
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(ForescaleError, match=says):
        load_surface(path)


def test_paths_that_cannot_be(surface: Surface, tmp_path: Path) -> None:
    with pytest.raises(ForescaleError, match=r"ending in \.toml"):
        save_surface(surface, tmp_path / "s.json")
    with pytest.raises(ForescaleError, match="cannot be written"):
        save_surface(surface, tmp_path / "no" / "s.toml")
    with pytest.raises(ForescaleError, match="cannot be read"):
        load_surface(tmp_path / "none.toml")


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), float("inf"), "x"])
def test_a_setting_must_be_a_positive_number(surface: Surface, bad: object) -> None:
    with pytest.raises(ForescaleError, match="learning_rate must be"):
        surface.predict(2e8, 1e10, bad, 5e5)


def test_other_bad_questions(surface: Surface) -> None:
    with pytest.raises(ForescaleError, match="active_params must not exceed params"):
        surface.best(1e8, 1e10, active_params=2e8)
    with pytest.raises(ForescaleError, match="loss_gap"):
        surface.plateau(1e8, 1e10, 0.0)
    with pytest.raises(ForescaleError, match="share"):
        surface.interval(1e8, 1e10, 1e-3, 5e5, share=1.0)
