"""Runs as tasks of a Ray cluster, one that is there or one that is started on this machine."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from forescale.errors import ForescaleError, MissingExtraError
from forescale.sweep._job import Outcome
from forescale.sweep._run import outcome_of
from forescale.sweep.engines._engine import Task
from forescale.sweep.engines._ray_run import Share, UnseenFolderError, run, run_shared, sign_of
from forescale.sweep.engines._work import on

STORE_MEMORY = 100 * 2**20  # bytes of a started cluster's object store: no run puts anything into it
LAST = 30.0  # seconds that cancelled runs have for their checkpoints
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5)  # HTTP/2's, and an empty SETTINGS frame
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}


class RayEngine:
    """Runs as tasks of the Ray cluster at `address`, or of one that is started here and ends with the driver.

    Each run is given `cpus`, `gpus` and custom `resources`, for each of its `processes`: above 1 a run is shared between
    them by Ray Train's TorchTrainer, by `parallel`. A task that dies with its node is started again elsewhere, `retries`
    times, from its checkpoint. `strategy` is Ray's scheduling strategy. Every node must see the folder of the runs and
    have forescale installed. A cluster that does not answer within `patience` seconds is an error.
    """

    name = "ray"

    def __init__(
        self,
        *,
        address: str | None = None,
        cpus: int = 1,
        gpus: float = 0,
        resources: Mapping[str, float] | None = None,
        processes: int = 1,
        parallel: str = "fsdp",
        retries: int = 3,
        strategy: Any = "SPREAD",
        patience: float = 30.0,
    ) -> None:
        if processes < 1 or cpus < 1 or gpus < 0:
            raise ForescaleError(
                f"a run needs 1 process and 1 cpu or more, and 0 gpus or more; got {processes}, {cpus} and {gpus}: correct it."
            )
        self.address, self.cpus, self.gpus, self.resources = address, cpus, gpus, dict(resources or {})
        self.processes, self.parallel, self.retries, self.strategy = processes, parallel, retries, strategy
        self.patience = patience
        self.notes: list[str] = []
        self._ray: Any = None
        self._owned = self._said = False
        self._sign = secrets.token_hex(8)
        self._running: dict[str, tuple[Task, Any]] = {}

    @property
    def free(self) -> int:
        """Runs that the cluster has room for, beside this driver's own."""
        have: Mapping[str, float] = self._connected().cluster_resources()
        need = {"CPU": self.cpus, "GPU": self.gpus, **self.resources}
        room = min(int(have.get(name, 0.0) / (each * self.processes)) for name, each in need.items() if each)
        if not room and not self._said:
            self._said = True
            told = ", ".join(f"{each * self.processes:g} {name}" for name, each in need.items() if each)
            self.notes.append(
                f"the Ray cluster has no room for a run, which needs {told}: it waits for a node that has"
            )
        return max(0, room - len(self._running))

    def start(self, tasks: Sequence[Task]) -> None:
        """Submit the runs."""
        self._put_sign(tasks[0].folder.parent)
        for task in tasks:
            self._running[task.key] = task, self._submitted(task)

    def finished(self, timeout: float) -> list[tuple[str, Outcome]]:
        """What has ended; raises `ForescaleError` where a node does not see the runs."""
        refs = [ref for _, ref in self._running.values()]
        if not refs:
            time.sleep(timeout)
            return []
        wait = self._connected().wait
        wait(refs, num_returns=1, timeout=timeout)
        ready = set(wait(refs, num_returns=len(refs), timeout=0)[0])
        keys = [key for key, (_, ref) in self._running.items() if ref in ready]
        return [(key, self._outcome(*self._running.pop(key))) for key in keys]

    def close(self) -> None:
        """Cancel what runs, which writes checkpoints, and leave the cluster, or end it if it was started here."""
        if self._ray is None:
            return
        refs = [ref for _, ref in self._running.values()]
        for ref in refs:
            with suppress(Exception):
                self._ray.cancel(ref, force=False)
        if refs:
            self._ray.wait(refs, num_returns=len(refs), timeout=LAST)
        self._running = {}
        if self._owned:
            self._ray.shutdown()
        self._ray = None

    def _submitted(self, task: Task) -> Any:
        options: dict[str, Any] = {"max_retries": self.retries, "scheduling_strategy": self.strategy, "name": task.key}
        remote = self._connected().remote
        if self.processes > 1:
            _check_train()
            share = Share(
                processes=self.processes,
                cpus=self.cpus,
                gpus=self.gpus,
                resources=self.resources,
                retries=self.retries,
            )
            given = on(task, threads=self.cpus, device=self._device(), parallel=self.parallel)
            return remote(run_shared).options(num_cpus=0, **options).remote(given, self._sign, share)
        needs = {"num_cpus": self.cpus, "num_gpus": self.gpus, "resources": self.resources}
        given = on(task, threads=self.cpus, device=self._device())
        return remote(run).options(**needs, **options).remote(given, self._sign)

    def _device(self) -> str:
        return "cuda" if self.gpus else "cpu"

    def _outcome(self, task: Task, ref: Any) -> Outcome:
        try:
            return self._ray.get(ref)
        except UnseenFolderError as error:
            raise ForescaleError(str(error)) from None
        except Exception as error:  # of Ray: the node or the worker died once too often, or the task was cancelled
            why = next(iter(str(error).strip().splitlines()), type(error).__name__)
            return outcome_of(task.folder) or Outcome(state="lost", problem=f"its Ray task was lost ({why})")

    def _put_sign(self, runs: Path) -> None:
        file = sign_of(runs)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(self._sign, encoding="utf-8")

    def _connected(self) -> Any:
        """Ray, connected to the cluster; one that this process is connected to already is used as it is."""
        if self._ray is None:
            ray = _import()
            self._owned = not ray.is_initialized()
            if self._owned:
                self._connect(ray)
            self._ray = ray
        return self._ray

    def _connect(self, ray: Any) -> None:
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        where = "here cannot be started" if self.address is None else f"at {self.address} cannot be joined"
        try:
            if self.address is None:
                ray.init(num_cpus=_cores(), include_dashboard=False, object_store_memory=STORE_MEMORY, **quiet)
            else:
                check_answers(self.address, self.patience)
                ray.init(address=self.address, **quiet)
        except ForescaleError:
            raise
        except Exception as error:  # Ray raises what it likes, a plain Exception among it
            raise ForescaleError(
                f"a Ray cluster {where} ({' '.join(str(error).split())[:300]}): look at the address and at `ray status`, at "
                "memory and load, or choose another engine."
            ) from None


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_answers(address: str, patience: float) -> None:
    """Raise `ForescaleError` unless something at `host:port` speaks gRPC within `patience` seconds.

    Ray itself tries for minutes, and then ends the process. An address that is no `host:port` is left to it.
    """
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not port.isdigit() or os.environ.get("RAY_USE_TLS") == "1":
        return
    until = time.monotonic() + patience
    problem = "it did not answer"
    while (left := until - time.monotonic()) > 0:
        try:
            if _speaks(host, int(port), left):
                return
            problem = "what answers there is no Ray"
        except TimeoutError:
            problem = "it did not answer"
        except OSError as error:
            problem = error.strerror or str(error)
        time.sleep(min(0.5, left))
    raise ForescaleError(
        f"the Ray cluster at {address} did not answer within {patience:g} s ({problem}): look at the address and at `ray "
        "status`, or leave the address out to start one here."
    )


def _speaks(host: str, port: int, seconds: float) -> bool:
    """Whether a server of HTTP/2 answers there, as gRPC's do: with a SETTINGS frame, whose kind is 4."""
    with socket.create_connection((host, port), timeout=seconds) as connection:
        connection.sendall(PREFACE)
        answer = connection.recv(9)
    return len(answer) > 3 and answer[3] == 4


def _check_train() -> None:
    try:
        import ray.train.torch  # noqa: F401  # pyright: ignore[reportUnusedImport]
    except ImportError as error:
        raise MissingExtraError(f"Ray Train needs {error.name or 'more'}: pip install 'ray[train]'") from None


def _import() -> Any:
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ModuleNotFoundError:
        raise MissingExtraError("the Ray engine needs ray: pip install 'forescale[sweep]'") from None
    return ray
