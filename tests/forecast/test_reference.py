"""The authors' checkpoint: parameter counts, and its likelihoods against those of the authors' own code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from forecast_series import HORIZON, azure_hourly, m4_hourly, protocol_windows

from forescale import ForescaleError
from forescale.forecast import Density, Grid
from forescale.forecast._networks import Inputs, SeparateNetwork
from forescale.forecast._reference import read_reference


@pytest.fixture(scope="module")
def checkpoint(data: Path) -> Path:
    return data / "c2far-checkpoint" / "c2far_azure_16-11-94_h130.npz"


def parameters(network: torch.nn.Module) -> int:
    return sum(each.numel() for each in network.parameters())


def nll(network: SeparateNetwork, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean NLL of each window that is not constant, in units of the normalised series, and the units."""
    x = torch.tensor(rows).float()
    low, high = x[:, 1:-HORIZON].amin(1, keepdim=True), x[:, 1:-HORIZON].amax(1, keepdim=True)
    kept = (high > low)[:, 0]
    z = ((x - low) / (high - low))[kept]
    bins = network.density.grid.encode(z)
    with torch.no_grad():
        law = network(Inputs(z=z, bins=bins), HORIZON)
        log_prob = law.log_prob(z[:, -HORIZON:], bins[:, -HORIZON:])
    return -log_prob.mean(1).double().numpy(), (high - low)[kept, 0].double().numpy()


def test_parameter_counts(checkpoint: Path) -> None:
    """Counted in the authors' file, and computed from their code for the two other settings."""
    assert parameters(read_reference(checkpoint)) == 821_593
    for bins, hidden, layers, count in (((20, 20, 20), 128, 2, 698_174), ((12, 12, 12), 64, 1, 81_830)):
        network = SeparateNetwork(Density(grid=Grid(bins=bins)), hidden=hidden, layers=layers)
        assert parameters(network) == count


def test_azure_likelihoods_are_those_of_the_authors_code(checkpoint: Path, data: Path) -> None:
    found, units = nll(read_reference(checkpoint), protocol_windows(azure_hourly(data)))
    assert len(found) == 164  # four windows are constant
    assert found.mean() == pytest.approx(-4.37694, abs=1e-5)
    assert (found + np.log(units)).mean() == pytest.approx(-0.19919, abs=1e-5)
    assert found[:5] == pytest.approx([-2.2577, -1.1297, -0.3103, -0.8780, -6.8953], abs=5.1e-5)


def test_m4_likelihoods_are_those_of_the_authors_code(checkpoint: Path, data: Path) -> None:
    found, _ = nll(read_reference(checkpoint), protocol_windows(m4_hourly(data)[:1]))
    assert found[:5] == pytest.approx([-1.1811, -1.4204, -1.5096, -1.2201, -1.3437], abs=5.1e-5)


@pytest.mark.slow
def test_all_m4_likelihoods_are_those_of_the_authors_code(checkpoint: Path, data: Path) -> None:
    found, units = nll(read_reference(checkpoint), protocol_windows(m4_hourly(data)))
    assert len(found) == 2898
    assert found.mean() == pytest.approx(-1.46158, abs=1e-5)
    assert np.median(found) == pytest.approx(-1.33979, abs=5e-5)
    assert (found + np.log(units)).mean() == pytest.approx(3.75907, abs=1e-5)


def test_another_grid_does_not_give_them(checkpoint: Path, data: Path) -> None:
    """The check can fail: the grid's ends are not in the file."""
    found, _ = nll(read_reference(checkpoint, high=1.2), protocol_windows(m4_hourly(data)[:1]))
    assert abs(found[0] + 1.1811) > 0.01


def test_a_file_of_other_tensors_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", weight=np.zeros(3))
    with pytest.raises(ForescaleError, match=r"coarse_out\.weight"):
        read_reference(tmp_path / "other.npz")
    np.savez(tmp_path / "half.npz", **{"coarse_out.weight": np.zeros((4, 3), np.float32)})
    with pytest.raises(ForescaleError, match="authors' network"):
        read_reference(tmp_path / "half.npz")
    with pytest.raises(ForescaleError, match="cannot be read"):
        read_reference(tmp_path / "none.npz")
