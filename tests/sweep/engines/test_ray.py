"""The Ray engine: a cluster of two nodes, one of which is killed; a run shared between processes; bad addresses."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from engine_jobs import measured, planned, tiny_jobs, varied_jobs

from forescale.errors import ForescaleError
from forescale.sweep.engines import LocalEngine, RayEngine, Task, drive
from forescale.sweep.engines._ray import check_answers
from forescale.sweep.engines._ray_run import UnseenFolderError, check_sight, sign_of
from forescale.sweep.store import open_store

pytest.importorskip("ray")


@pytest.fixture(scope="module")
def two_nodes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which `ray_two_nodes.py` has made its sweeps."""
    folder = tmp_path_factory.mktemp("ray")
    script = Path(__file__).with_name("ray_two_nodes.py")
    done = subprocess.run([sys.executable, str(script), str(folder)], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


def local_table(folder: Path, jobs: list) -> object:
    store = planned(folder / "local.db", jobs)
    drive(store, LocalEngine(workers=2, threads=1, device="cpu"), progress=False)
    return measured(store)


def test_a_design_gives_the_table_that_it_gives_on_this_machine(two_nodes: Path, tmp_path: Path) -> None:
    table = measured(open_store(two_nodes / "agree.db"))
    assert table.equals(local_table(tmp_path, varied_jobs(two_nodes)))


def test_runs_move_when_their_node_is_killed(two_nodes: Path, tmp_path: Path) -> None:
    store = open_store(two_nodes / "moved.db")
    assert int((store.runs / "killed").read_text()) < 3  # it was in the middle
    table = measured(store)
    assert table["state"].to_list() == ["done"] * 3
    assert table.equals(local_table(tmp_path, tiny_jobs(two_nodes, 3, steps=250, checkpoint_every=10)))


@pytest.mark.slow
def test_a_run_is_shared_between_processes_by_ray_train(tmp_path: Path) -> None:
    (job,) = tiny_jobs(tmp_path, 1)
    planned(tmp_path / "shared.db", [job])
    program = (
        "import sys; from forescale.sweep.engines import RayEngine, drive; from forescale.sweep.store import open_store; "
        "drive(open_store(sys.argv[1]), RayEngine(processes=2), progress=False)"
    )
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0"}
    subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "shared.db")], check=True, env=environment, timeout=600
    )
    entry = open_store(tmp_path / "shared.db").entry(job.key)
    assert entry.outcome is not None
    assert (entry.state, entry.outcome.row["processes"]) == ("done", 2)
    alone = local_table(tmp_path, [job])["loss"].item()
    assert entry.outcome.loss == pytest.approx(alone, abs=1e-5)  # as tests/train/loop/test_distributed.py has it


@pytest.mark.parametrize("mute", [True, False])
def test_an_address_that_does_not_answer_is_said_in_time(mute: bool) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if mute:
            server.listen()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        began = time.monotonic()
        why = "it did not answer" if mute else "Connection refused"
        with pytest.raises(ForescaleError, match=rf"at {address} did not answer within 0.5 s \({why}\): look at"):
            check_answers(address, 0.5)
        assert time.monotonic() - began < 5


def test_a_server_that_speaks_gRPC_passes() -> None:  # noqa: N802
    grpc = pytest.importorskip("grpc")
    from concurrent.futures import ThreadPoolExecutor

    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    check_answers(f"127.0.0.1:{port}", 5.0)
    server.stop(None)


def test_a_node_must_see_the_folder_of_the_runs(tmp_path: Path) -> None:
    (job,) = tiny_jobs(tmp_path, 1)
    task = Task(job=job, folder=tmp_path / "runs" / job.key)
    sign_of(tmp_path / "runs").parent.mkdir(parents=True)
    sign_of(tmp_path / "runs").write_text("this driver's")
    check_sight(task, "this driver's")
    with pytest.raises(UnseenFolderError, match=r"does not see .*/runs: keep the sweep on a file system"):
        check_sight(task, "another's")
    with pytest.raises(UnseenFolderError):
        check_sight(Task(job=job, folder=tmp_path / "elsewhere" / job.key), "this driver's")


def test_a_cluster_that_does_not_start_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(**_options: object) -> None:
        raise Exception("The current node timed out during startup.")  # what Ray itself raises

    monkeypatch.setattr("ray.init", fails)
    with pytest.raises(ForescaleError, match=r"a Ray cluster here cannot be started \(The current node timed out"):
        _ = RayEngine().free


def test_settings_that_cannot_be() -> None:
    with pytest.raises(ForescaleError, match="1 process and 1 cpu or more"):
        RayEngine(processes=0)
