"""SutraNets: sizes, what each network may see, and that paths follow the law."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from forescale import ForescaleError
from forescale.forecast import C2FAR, Training
from forescale.forecast._networks import Inputs
from forescale.forecast._torch import set_seed
from forescale.forecast._windows import Layout
from forescale.forecast.sutra import SutraNet
from forescale.forecast.sutra._network import Order, SutraNetwork, sequence

KINDS = [("regular", True), ("regular", False), ("backfill", True), ("backfill", False)]


def network(subseries: int, context: int, **options: Any) -> SutraNetwork:
    model = SutraNet(subseries=subseries, **options)
    set_seed(0)
    return model.network(Layout(horizon=model.options.horizon, context=context + subseries, span=context))


def count(module: torch.nn.Module) -> int:
    return sum(each.numel() for each in module.parameters())


def test_parameter_counts_of_the_published_setting() -> None:
    """Computed from the authors' code: 220,070 a sub-series, 1,320,420 in all; 81,830 for the plain model."""
    made = network(6, 2016, horizon=288, hidden=64)
    assert [count(member) for member in made.members] == [220_070] * 6
    assert count(made) == 1_320_420
    assert count(network(1, 2016, horizon=288, hidden=64)) == 81_830


def test_networks_that_do_not_alternate_read_the_earlier_ones_alone() -> None:
    """Member i of the order has i(B1 + B2 + B3) more inputs than the plain one, in three LSTMs of four gates."""
    made = network(6, 24, horizon=6, hidden=64, order="regular", alternating=False)
    assert [count(member) - 81_830 for member in made.members] == [i * 36 * 3 * 4 * 64 for i in range(6)]


def test_the_order_of_drawing() -> None:
    assert sequence("regular", 4) == (0, 1, 2, 3)
    assert sequence("backfill", 4) == (3, 2, 1, 0)


def test_signals_of_a_day_pass_over_48_steps_instead_of_288(monkeypatch: pytest.MonkeyPatch) -> None:
    """The published setting: each network is moved 48 times for a horizon of 288, and run over 336 values before."""
    assert SutraNet(horizon=288, context=2016).signal_path == 48
    made = network(6, 2016, horizon=288, hidden=2, bins=(3, 2))
    moves = [0] * 6
    lengths: list[int] = []
    for k, member in enumerate(made.members):

        def start(inputs: Inputs, paths: int, k: int = k, own: Any = member.start) -> Any:
            lengths.append(inputs.steps)
            step = own(inputs, paths)

            def counted(*arguments: torch.Tensor) -> Any:
                moves[k] += 1
                return step(*arguments)

            return counted

        monkeypatch.setattr(member, "start", start)
    z = torch.rand(1, 1 + 6 + 2016)
    with torch.no_grad():
        assert made.draw(Inputs(z=z, bins=z[..., None].long()), torch.rand(1, 2, 288)).shape == (1, 2, 288)
    assert moves == [48] * 6
    assert lengths == [336] * 6


def windows(rows: int, subseries: int, windows: int = 3) -> torch.Tensor:
    return torch.rand(windows, 1 + rows * subseries, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("order", "alternating"), KINDS)
def test_a_law_sees_what_was_drawn_before_and_nothing_else(order: Order, alternating: bool) -> None:
    """Move one value of the horizon: the laws that change are those that the paper's graph lets it reach."""
    size, rows, context = 3, 6, 3
    made = network(size, context * size, horizon=6, hidden=8, bins=(4, 3), order=order, alternating=alternating)
    z = windows(rows, size)
    moved = (4, 1)  # row, sub-series

    other = z.clone()
    at = 1 + moved[0] * size + moved[1]
    other[:, at] = 1 - other[:, at].round()
    with torch.no_grad():
        before = made(Inputs(z=z, bins=z[..., None].long()))
        after = made(Inputs(z=other, bins=z[..., None].long()))
    place = sequence(order, size).index(moved[1])
    for member, (a, b) in enumerate(zip(before.laws, after.laws, strict=True)):
        same = (a.logits[0] == b.logits[0]).all(-1).all(0)  # of rows 1 on
        mine = sequence(order, size).index(member)
        reached_now, reached_next = mine > place, alternating or mine >= place
        assert same[: moved[0] - 1].all()
        assert bool(same[moved[0] - 1]) == (not reached_now)
        assert bool(same[moved[0]]) == (not reached_next)


@pytest.mark.parametrize("law", ["levels", "normal"])
@pytest.mark.parametrize(("order", "alternating"), KINDS)
def test_paths_follow_the_law(order: Order, alternating: bool, law: str) -> None:
    """Teacher forced with a drawn path, the CDF of each value is the uniform number that drew it: two code paths agree."""
    size, context = 3, 4
    made = network(
        size, context * size, horizon=6, hidden=8, bins=(6, 5), order=order, alternating=alternating, law=law
    )
    past = windows(1 + context, size)
    u = torch.rand(3, 2, 6, generator=torch.Generator().manual_seed(2)) * 0.9 + 0.05
    with torch.no_grad():
        paths = made.draw(Inputs(z=past, bins=past[..., None].long()), u)
        for path in range(2):
            z = torch.cat([past, paths[:, path]], 1)
            found = made(Inputs(z=z, bins=z[..., None].long()), 6)
            cdf = found.cdf(paths[:, path], torch.zeros(0))
            assert cdf == pytest.approx(u[:, path].numpy(), abs=2e-4)


def test_the_density_integrates_to_one() -> None:
    """Of one value given the others, over a fine line: Riemann's sum, the tails by the CDF at its ends."""
    made = network(2, 8, horizon=2, hidden=8, bins=(4, 4), order="regular")
    line = torch.linspace(-3, 4, 7_001)
    past = windows(5, 2, 1).expand(len(line), -1)
    z = torch.cat([past, line[:, None], torch.full((len(line), 1), 0.5)], 1)
    with torch.no_grad():
        law = made(Inputs(z=z, bins=z[..., None].long()), 2)
        density = law.log_prob(z[:, -2:], torch.zeros(0)).exp()[:, 0]
        share = law.cdf(z[:, -2:], torch.zeros(0))[:, 0]
    assert float(density[:-1].double().sum() * 1e-3) == pytest.approx(float(share[-1] - share[0]), abs=2e-3)


def test_a_constant_sub_series_has_a_finite_law() -> None:
    made = network(2, 8, horizon=2, hidden=4, bins=(4, 4))
    z = windows(6, 2)
    z[:, 2::2] = 0.25
    with torch.no_grad():
        assert torch.isfinite(made(Inputs(z=z, bins=z[..., None].long()), 2).log_prob(z[:, -2:], z)).all()


@pytest.fixture(scope="module")
def frame() -> pl.DataFrame:
    t = np.arange(240)
    y = np.concatenate([np.round(10 + 8 * np.sin(t * math.pi / 6)), np.full(240, 5.0)])
    return pl.DataFrame({"unique_id": ["wave"] * 240 + ["flat"] * 240, "ds": [*t, *t], "y": y})


@pytest.fixture(scope="module")
def model(frame: pl.DataFrame) -> SutraNet:
    options: dict[str, Any] = {"horizon": 12, "context": 36, "hidden": 24, "bins": (8, 8)}
    training = Training(steps=80, batch=24, learning_rate=2e-2)
    made = SutraNet(subseries=3, training=training, **options)
    made.fit(frame, progress=False)
    return made


def test_it_learns_a_wave_and_keeps_a_constant(model: SutraNet, frame: pl.DataFrame) -> None:
    """The next day is known; always saying the mean misses it by the mean of 8|sin|, 16 / pi."""
    found = model.predict(frame, 24, level=(80,), paths=50)
    assert found.columns == ["unique_id", "ds", "SutraNet", "SutraNet-lo-80", "SutraNet-hi-80"]
    truth = np.round(10 + 8 * np.sin(np.arange(240, 264) * math.pi / 6))
    wave = found.filter(pl.col("unique_id") == "wave")["SutraNet"].to_numpy()
    assert np.abs(wave - truth).mean() < 0.4 * 16 / math.pi
    assert (found.filter(pl.col("unique_id") == "flat")["SutraNet"] == 5.0).all()


def test_likelihoods_in_the_datas_units(model: SutraNet, frame: pl.DataFrame) -> None:
    """Ten times the unit costs log 10 nats a value, for any density."""
    one = model.log_prob(frame)["log_prob"].drop_nulls()
    ten = model.log_prob(frame.with_columns(pl.col("y") * 10))["log_prob"].drop_nulls()
    assert len(one) >= 200
    assert (one - ten).mean() == pytest.approx(math.log(10), abs=1e-3)


def test_a_saved_one_says_the_same(model: SutraNet, frame: pl.DataFrame, tmp_path: Path) -> None:
    model.save(tmp_path / "model.pt")
    again = SutraNet.load(tmp_path / "model.pt")
    assert again.sample(frame, paths=3).equals(model.sample(frame, paths=3))
    assert (again.order, again.subseries, again.parameters) == ("backfill", 3, model.parameters)
    (tmp_path / "other.pt").write_bytes(b"no model")
    with pytest.raises(ForescaleError, match="not a saved SutraNet"):
        SutraNet.load(tmp_path / "other.pt")


def test_files_of_the_first_format_still_load(model: SutraNet, frame: pl.DataFrame, tmp_path: Path) -> None:
    """It kept the context in place of the windows' layout, and its settings under another name."""
    model.save(tmp_path / "new.pt")
    content = torch.load(tmp_path / "new.pt", weights_only=True)
    about = json.loads(content["about"])
    kept = {name: about[name] for name in ("options", "training", "step", "fitted")}
    kept |= {"sutra": about["settings"], "context": about["layout"]["span"]}
    old = {"format": "forescale.forecast.sutra 1", "about": json.dumps(kept), "weights": content["weights"]}
    torch.save(old, tmp_path / "old.pt")
    assert SutraNet.load(tmp_path / "old.pt").sample(frame, paths=3).equals(model.sample(frame, paths=3))
    for name in ("new.pt", "old.pt"):
        with pytest.raises(ForescaleError, match=r"is a saved SutraNet, not a C2FAR: use SutraNet\.load"):
            C2FAR.load(tmp_path / name)


def test_what_cannot_be_is_told(model: SutraNet, frame: pl.DataFrame) -> None:
    with pytest.raises(
        ForescaleError, match="horizon must be a multiple of the number of sub-series, 6; got 20: take 24"
    ):
        SutraNet(horizon=20)
    with pytest.raises(ForescaleError, match="context must be a multiple"):
        SutraNet(horizon=24, context=100)
    with pytest.raises(ForescaleError, match="multiple"):
        model.sample(frame, 10)
    with pytest.raises(ForescaleError, match="regular or backfill"):
        SutraNet(order="sideways")  # type: ignore[arg-type]
    with pytest.raises(ForescaleError, match="no lags"):
        SutraNet(lags=(24,))
