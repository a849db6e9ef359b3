"""Devices, whole batches and the seconds of a step."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forescale.errors import ForescaleError
from forescale.plan.frontier import Cluster, known_devices


def test_seconds_of_a_step() -> None:
    # By hand: 8 devices take 64 sequences of 1000 tokens, 8 each: 6 * 1e9 * 8000 FLOPs at 50 % of 1e15, and 0.1 s.
    cluster = Cluster(devices=8, flops=1e15, utilisation=0.5, step_overhead=0.1)
    assert cluster.step_seconds(1e9, 64, 1000) == pytest.approx(6 * 1e9 * 8000 / 0.5e15 + 0.1)
    # Without a bound on the devices every sequence has its own.
    assert Cluster(flops=1e15, utilisation=0.5).step_seconds(1e9, 64, 1000) == pytest.approx(6 * 1e9 * 1000 / 0.5e15)
    # Two devices share a replica: four replicas of twice the speed take 16 sequences each.
    pair = Cluster(devices=8, flops=1e15, utilisation=0.5, model_parallel=2)
    assert pair.step_seconds(1e9, 64, 1000) == pytest.approx(6 * 1e9 * 16000 / 1e15)
    assert Cluster(seconds_per_step=2.0).step_seconds(np.array([1e9, 1e12]), 64, 1000) == pytest.approx([2.0, 2.0])


@given(st.integers(1, 500), st.integers(1, 4), st.integers(1, 4), st.floats(1, 1e5), st.sampled_from([0.0, 0.5]))
def test_a_batch_is_shared_evenly_in_whole_micro_batches(
    replicas: int, parallel: int, micro: int, wanted: float, rounding: float
) -> None:
    cluster = Cluster(devices=replicas * parallel, model_parallel=parallel, micro_batch=micro)
    sequences = float(cluster.whole_batch(wanted, rounding))
    used = float(cluster.devices_used(sequences)) / parallel
    assert sequences % micro == 0
    assert 1 <= used <= replicas
    assert (sequences / micro) % used == 0
    assert used == replicas or sequences == used * micro  # a device is idle only where it would have no micro-batch
    if rounding == 0:
        assert sequences <= max(wanted, micro)
    assert cluster.whole_batch(sequences, rounding) == sequences


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"devices": 0}, "from 1 to 10 million"),
        ({"devices": 2.5}, "whole number"),
        ({"devices": True}, "whole number"),
        ({"utilisation": 1.2}, "share of the peak"),
        ({"utilisation": 0}, "share of the peak"),
        ({"flops": "v9000"}, "one of a100, h100"),
        ({"flops": -1.0}, "above zero"),
        ({"step_overhead": -1}, "not below 0"),
        ({"devices": 4, "model_parallel": 8}, "one replica takes"),
        ({"price": 0.0}, "above zero"),
        ({"watts": float("nan")}, "finite"),
        ({"seconds_per_step": 1.0, "devices": 8}, "devices would be ignored"),
        ({"seconds_per_step": 1.0, "flops": "a100"}, "flops would be ignored"),
        ({"seconds_per_step": 1.0, "price": 2.0}, "price would be ignored"),
    ],
)
def test_numbers_that_cannot_be(given: dict, said: str) -> None:
    with pytest.raises(ForescaleError, match=said):
        Cluster(**given)


def test_the_table_of_devices() -> None:
    # NVIDIA's H100 data sheet prints 1,979 TFLOP/s of bf16 with sparsity for SXM, 1,513 for PCIe: half of it is dense.
    devices = known_devices()
    assert devices["h100"].flops == pytest.approx(1979e12 / 2, rel=1e-3)
    assert devices["h100-pcie"].flops == pytest.approx(1513e12 / 2, rel=1e-3)
    assert all(device.source for device in devices.values())
    assert Cluster(flops="H100").peak == devices["h100"].flops
