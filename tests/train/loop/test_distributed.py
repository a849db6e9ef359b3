"""Two processes on the CPU: the same run as one process, and checkpoints that either continues."""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from loop_runs import MIXED, ModelOptions, tiny_config, tiny_corpus

from forescale.errors import ForescaleError
from forescale.train import train
from forescale.train._distributed import World
from forescale.train._step import pieces

STOP = 7
CASES: dict[str, dict[str, Any]] = {
    "ddp": {"parallel": "ddp"},
    "fsdp": {"parallel": "fsdp"},
    "fsdp-muon": {"parallel": "fsdp", "optimizer": "muon"},
    "fsdp-atan2": {"parallel": "fsdp", "optimizer": "adam-atan2"},
    "ddp-accumulated": {"parallel": "ddp", "micro_batch": 1, "optimizer": "muon"},
    "fsdp-accumulated": {"parallel": "fsdp", "micro_batch": 1},
    "fsdp-experts": {"parallel": "fsdp", "shape": MIXED, "options": ModelOptions(density=0.5, load_balance=0.0)},
}


def config_of(case: str) -> Any:
    # Five sequences over two processes: two and three.
    return tiny_config(batch_sequences=5, checkpoint_every=3, **CASES[case])


class StoppedError(Exception):
    pass


def stop(seen: Any) -> None:
    if seen.step == STOP:
        raise StoppedError


def one_rank(rank: int, port: int, cache: Path, folder: Path) -> None:
    """What each process does: every case whole, then one stopped and resumed, then one that a single process began."""
    torch.set_num_threads(1)
    world = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({key: str(value) for key, value in world.items()})
    torch.distributed.init_process_group("gloo")
    corpus = tiny_corpus(cache)
    found: dict[str, Any] = {}
    for case in CASES:
        made = train(config_of(case), corpus=corpus)
        found[case] = {"losses": made.losses, "loss": made.loss, "processes": made.processes}
    for case in ("ddp", "fsdp", "fsdp-muon"):
        cut = replace(config_of(case), out=str(folder / f"by-two-{case}"))
        with suppress(StoppedError):
            train(cut, corpus=corpus, on_step=stop)
        found[f"by-one-{case}"] = train(
            replace(cut, out=str(folder / f"by-one-{case}")), corpus=corpus, resume=True
        ).loss
    if rank == 0:
        (folder / "found.json").write_text(json.dumps(found))
    torch.distributed.destroy_process_group()


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


@pytest.fixture(scope="module")
def found(corpus, tmp_path_factory) -> tuple[dict[str, Any], Path]:
    folder = tmp_path_factory.mktemp("two")
    for case in ("ddp", "fsdp", "fsdp-muon"):
        with pytest.raises(StoppedError):
            train(replace(config_of(case), out=str(folder / f"by-one-{case}")), corpus=corpus, on_step=stop)
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["torch", "torch._dynamo", "forescale.train._loop", "test_distributed"])
    cache, port = corpus.train.path.parents[2], free_port()
    ranks = [processes.Process(target=one_rank, args=(rank, port, cache, folder)) for rank in range(2)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(300)
    assert [rank.exitcode for rank in ranks] == [0, 0]
    return json.loads((folder / "found.json").read_text()), folder


@pytest.mark.parametrize("case", CASES)
def test_two_processes_train_as_one(corpus, found, case: str) -> None:
    alone = train(replace(config_of(case), parallel="none", micro_batch=None), corpus=corpus)
    two = found[0][case]
    assert two["processes"] == 2
    assert two["losses"] == pytest.approx(alone.losses, rel=2e-6)
    assert two["loss"] == pytest.approx(alone.loss, rel=2e-6)


@pytest.mark.parametrize("case", ["ddp", "fsdp", "fsdp-muon"])
def test_one_process_goes_on_where_two_stopped(corpus, found, case: str) -> None:
    config = replace(config_of(case), out=str(found[1] / f"by-two-{case}"))
    resumed = train(config, corpus=corpus, resume=True)
    assert resumed.steps == 12
    assert len(resumed.losses) == 6  # from the checkpoint of step 6
    assert resumed.loss == pytest.approx(found[0][case]["loss"], rel=2e-6)


@pytest.mark.parametrize("case", ["ddp", "fsdp", "fsdp-muon"])
def test_two_processes_go_on_where_one_stopped(found, case: str) -> None:
    assert found[0][f"by-one-{case}"] == pytest.approx(found[0][case]["loss"], rel=2e-6)
    folder = found[1] / f"by-one-{case}"
    steps = [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(1, 13))
    assert json.loads((folder / "result.json").read_text())["processes"] == 2


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("micro_batch", [1, 2, 5, 100])
@pytest.mark.parametrize("batch", [1, 2, 5, 12])
def test_every_sequence_is_taken_once_in_as_many_pieces_everywhere(size: int, micro_batch: int, batch: int) -> None:
    worlds = [World(device=torch.device("cpu"), rank=rank, size=size) for rank in range(size)]
    shares = [pieces(batch, micro_batch, world) for world in worlds]
    assert len({len(share) for share in shares}) == 1
    taken = [i for share in shares for p in share if p.weight for i in range(p.start, p.start + p.sequences)]
    assert sorted(taken) == list(range(batch))
    assert all(p.sequences <= micro_batch for share in shares for p in share)
    assert sum(p.weight for share in shares for p in share) == pytest.approx(1.0)
    assert all(p.start + p.sequences <= batch for share in shares for p in share if p.weight)


def test_processes_that_are_not_wanted_are_refused(corpus, monkeypatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ForescaleError, match="torchrun started 2"):
        train(tiny_config(parallel="none"), corpus=corpus)


def test_one_process_needs_no_group(corpus) -> None:
    assert train(tiny_config(parallel="fsdp"), corpus=corpus).loss == train(tiny_config(), corpus=corpus).loss
