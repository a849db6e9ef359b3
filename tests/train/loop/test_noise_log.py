"""The noise scale that a run logs: where it stands, that it survives a stop, and that it is the meter's own."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from loop_runs import tiny_config

from forescale.train import train
from forescale.train.population import together


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("noise", ["norm", "all"])
def test_a_run_with_a_meter_trains_as_one_without_and_logs_the_noise_scale(corpus, tmp_path, noise: str) -> None:
    plain = train(tiny_config(), corpus=corpus)
    made = train(tiny_config(noise=noise, log_every=4, out=str(tmp_path / "run")), corpus=corpus)
    assert made.losses == pytest.approx(plain.losses, rel=1e-5)  # the meter's own kernels round differently
    logged = [line["step"] for line in lines(tmp_path / "run") if "noise_scale" in line]
    assert logged == [4, 8, 12]
    last = lines(tmp_path / "run")[-1]
    assert last["noise_scale_low"] <= last["noise_scale"]


@pytest.mark.parametrize("noise", ["norm", "all"])
def test_a_resumed_run_logs_what_an_undisturbed_one_does(corpus, tmp_path, noise: str) -> None:
    config = tiny_config(noise=noise, log_every=2, checkpoint_every=5)
    whole, cut = (replace(config, out=str(tmp_path / name)) for name in ("whole", "cut"))
    train(whole, corpus=corpus)

    def stop(seen: Any) -> None:
        if seen.step == 7:
            raise KeyError

    with pytest.raises(KeyError):
        train(cut, corpus=corpus, on_step=stop)
    train(cut, corpus=corpus, resume=True)
    assert (tmp_path / "cut" / "metrics.jsonl").read_bytes() == (tmp_path / "whole" / "metrics.jsonl").read_bytes()


def test_accumulated_micro_batches_have_the_noise_scale_of_the_batch(corpus, tmp_path) -> None:
    found = []
    for micro in (4, 1):
        out = tmp_path / str(micro)
        train(tiny_config(noise="all", log_every=12, micro_batch=micro, out=str(out)), corpus=corpus)
        found.append(lines(out)[-1])
    assert found[0]["norm_noise_scale"] == pytest.approx(found[1]["norm_noise_scale"], rel=1e-2)


def test_a_run_that_measures_noise_is_no_member_of_a_population() -> None:
    configs = [tiny_config(noise="norm", seed=seed) for seed in range(2)]
    assert together(configs) == [[0], [1]]
    assert together([replace(config, noise="off") for config in configs]) == [[0, 1]]
