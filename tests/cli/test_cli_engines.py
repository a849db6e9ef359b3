"""Options on where runs are made."""

from __future__ import annotations

from typing import Any

import pytest

from forescale.cli._engines import make_engine, read_slurm
from forescale.errors import ForescaleError

NONE: dict[str, Any] = dict.fromkeys(("workers", "threads", "device", "address", "slurm"))


def test_slurm_in_a_text_and_in_a_table() -> None:
    expected = {"partition": "gpu", "time": 3600.0, "gpus": 2, "memory": 64e9, "extra": {"qos": "low"}}
    assert read_slurm("partition=gpu, time=60, gpus=2, memory=64G, qos=low") == expected
    assert read_slurm({"partition": "gpu", "time": 60, "gpus": 2, "memory": "64G", "qos": "low"}) == expected


@pytest.mark.parametrize("text", ["gpu", "partition=", "=gpu", "time=soon", "gpus=1.5"])
def test_what_slurm_does_not_take(text: str) -> None:
    with pytest.raises(ForescaleError):
        read_slurm(text)


def test_each_name_gives_its_engine() -> None:
    local = make_engine(NONE | {"engine": "local", "workers": 3, "threads": 1, "device": "cpu"})
    ray = make_engine(NONE | {"engine": "ray", "address": "127.0.0.1:1", "threads": 2})
    slurm = make_engine(NONE | {"engine": "slurm", "slurm": "time=30", "workers": 5})
    assert [engine.name for engine in (local, ray, slurm)] == ["local", "ray", "slurm"]
    assert local.free == 3
    assert slurm.free == 5


def test_ray_has_its_own_number_of_runs() -> None:
    with pytest.raises(ForescaleError, match="cluster has room"):
        make_engine(NONE | {"engine": "ray", "workers": 2})
