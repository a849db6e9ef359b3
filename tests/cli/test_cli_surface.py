"""`forescale fit --surface` and `forescale score --surface`: what they print and write, and what they refuse."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from forescale.cli import main

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "fit" / "surface"))

from planted_surface import planted


def call(capsys, *arguments: str, code: int | None = 0) -> tuple[str, str]:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert (stop.value.code or 0) == code
    captured = capsys.readouterr()
    return captured.out, captured.err


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Smaller models to fit, the largest to score."""
    folder = tmp_path_factory.mktemp("sweep")
    planted(noise=0.001, sizes=(1e8, 2e8, 4e8)).write_csv(folder / "small.csv")
    planted(noise=0.001, seed=1, sizes=(8e8,)).write_csv(folder / "large.csv")
    return folder / "small.csv", folder / "large.csv"


def test_fit_then_score_on_larger_models(capsys, sweep: tuple[Path, Path], tmp_path: Path) -> None:
    small, large = map(str, sweep)
    path = tmp_path / "surface.toml"
    out, err = call(capsys, "fit", small, "--surface", "--out", str(path))
    assert f"wrote {path}" in err
    for words in ("405 runs of 9 cells", "best learning rate", "within 0.5 %", "R2"):
        assert words in out
    scored = json.loads(call(capsys, "score", large, "--surface", str(path), "--json")[0])
    assert scored["schema_version"] == 1
    assert scored["r2"] > 0.99
    assert 0 < scored["mae"] < 0.01
    assert len(scored["cells"]) == 3
    for cell in scored["cells"]:
        assert cell["params"] == 8e8
        assert cell["outside_range"] == {"params": pytest.approx(2)} | (
            {"tokens": pytest.approx(2)} if cell["tokens"] > 8e10 else {}
        )
        assert cell["choice"]["smooth"] < 0.2  # per cent; the noise of a run is 0.1
    assert not scored["same_runs"]
    assert scored["gap"]["linear"]["mean"] < 0.2
    text = call(capsys, "score", large, "--surface", str(path), "--cells")[0]
    for words in ("inside the 80 % interval", "its own choice", "fitted to small.csv", "800M"):
        assert words in text


def test_fit_prints_json(capsys, sweep: tuple[Path, Path]) -> None:
    fitted = json.loads(call(capsys, "fit", str(sweep[0]), "--surface", "--json")[0])
    assert fitted["schema_version"] == 1
    assert fitted["parameters"]["rate_params"]["value"] == pytest.approx(-0.62, abs=0.06)  # planted
    assert fitted["parameters"]["share"]["held"]
    assert fitted["in_sample"]["r2"] > 0.99


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--protocol", "bowl"), "--surface takes no --protocol"),
        (("--loss-law", "chinchilla"), "--surface takes no --loss-law"),
        (("--over", "points", "--bootstraps", "50"), "no --over and no --bootstraps"),
        (("--out", "surface.json"), "--out must end in .toml"),
    ],
)
def test_fit_refuses_what_a_surface_would_ignore(
    capsys, sweep: tuple[Path, Path], more: tuple[str, ...], says: str
) -> None:
    out, err = call(capsys, "fit", str(sweep[0]), "--surface", *more, code=2)
    assert says in err
    assert not out
    assert len(err.strip().splitlines()) == 1


def test_score_refuses_laws_and_pictures_with_a_surface(capsys, sweep: tuple[Path, Path], tmp_path: Path) -> None:
    picture = tmp_path / "p.png"
    _, err = call(
        capsys, "score", str(sweep[0]), "--surface", "s.toml", "--law", "step-law", "--picture", str(picture), code=2
    )
    assert "--surface takes no --law and no --picture" in err
    assert not picture.exists()


def test_a_law_is_not_a_surface(capsys, sweep: tuple[Path, Path], tmp_path: Path) -> None:
    path = tmp_path / "law.toml"
    path.write_text('name = "x"\n', encoding="utf-8")
    _, err = call(capsys, "score", str(sweep[0]), "--surface", str(path), code=2)
    assert "kind must be 'surface'" in err
    assert len(err.strip().splitlines()) == 1


def test_a_sweep_that_tells_no_surface_writes_nothing(capsys, tmp_path: Path) -> None:
    planted(sizes=(1e8,), ratios=(20.0,)).write_csv(tmp_path / "one.csv")
    _, err = call(capsys, "fit", str(tmp_path / "one.csv"), "--surface", "--out", str(tmp_path / "s.toml"), code=2)
    assert "cell" in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "s.toml").exists()
