"""Runs as jobs of Slurm, through submitit."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from forescale.errors import ForescaleError, MissingExtraError
from forescale.sweep._job import Outcome
from forescale.sweep._run import outcome_of
from forescale.sweep.engines._engine import Task
from forescale.sweep.engines._slurm_run import SlurmRun
from forescale.sweep.engines._work import on

FOLDER = ".slurm"  # beside the runs: submitit's files, and under each run's key the number of its job
HOURS = 4.0  # of a job; one that needs longer is warned, queued again and goes on
SLACK = 600.0  # seconds of a job beyond its run's time limit
LOOK, SETTLE = 1.0, 15.0  # seconds between looks at a job, and until a result that is not there is missing


class SlurmEngine:
    """Runs as jobs of Slurm; those that start together are one job array.

    A job that Slurm preempts, or that has used up its `time` (seconds), writes a checkpoint and is queued again. Jobs
    go on when the driver ends (`leave`), and one that is started again finds them by their numbers, which are kept beside
    the runs. With `processes` above 1 a run is shared between as many, on `nodes` nodes, by `parallel`. `extra` are
    further options of sbatch. `most` jobs are queued at once. `cluster` local is submitit's own stand-in for Slurm.
    """

    name = "slurm"

    def __init__(
        self,
        *,
        partition: str | None = None,
        account: str | None = None,
        time: float | None = None,
        cpus: int = 1,
        gpus: int = 0,
        memory: float | None = None,
        nodes: int = 1,
        processes: int = 1,
        parallel: str = "fsdp",
        extra: Mapping[str, Any] | None = None,
        most: int = 256,
        leave: bool = True,
        cluster: str = "slurm",
    ) -> None:
        if processes % nodes:
            raise ForescaleError(f"processes must divide between {nodes} nodes; got {processes}: give a multiple.")
        self.processes, self.parallel, self.cpus = processes, parallel, cpus
        self.time, self.most, self.leave, self.cluster = time, most, leave, cluster
        self.notes: list[str] = []
        self._options: dict[str, Any] = {
            "cpus_per_task": cpus,
            "gpus_per_node": gpus or None,
            "mem_gb": None if memory is None else memory / 1e9,
            "nodes": nodes,
            "tasks_per_node": processes // nodes,
            "slurm_partition": partition,
            "slurm_account": account,
            "slurm_additional_parameters": {"requeue": True, **(extra or {})},
            "slurm_array_parallelism": most,
        }
        self._jobs: dict[str, tuple[Task, Any]] = {}
        self._ended: dict[str, float] = {}  # when a job was first seen to have ended without a result

    @property
    def free(self) -> int:
        """Jobs that may still be queued."""
        return max(0, self.most - len(self._jobs))

    def start(self, tasks: Sequence[Task]) -> None:
        """Queue the runs, but for those whose job is there already."""
        found = {task.key: job for task in tasks if (job := self._known(task)) is not None}
        self._jobs |= {task.key: (task, found[task.key]) for task in tasks if task.key in found}
        new = [task for task in tasks if task.key not in found]
        if new:
            jobs = self._submitted(new)
            self._jobs |= {task.key: (task, job) for task, job in zip(new, jobs, strict=True)}

    def finished(self, timeout: float) -> list[tuple[str, Outcome]]:
        """What has ended."""
        until = time.monotonic() + timeout
        while True:
            found = [(key, outcome) for key in self._jobs if (outcome := self._outcome(key)) is not None]
            for key, outcome in found:
                self._forget(key, keep_logs=outcome.state in ("failed", "lost"))
            if found or time.monotonic() >= until:
                return found
            time.sleep(max(0.0, min(LOOK, until - time.monotonic())))

    def close(self) -> None:
        """Leave the jobs to Slurm, or cancel them, which ends them with checkpoints."""
        if self._jobs and self.leave:
            numbers = " ".join(sorted({job.job_id.partition("_")[0] for _, job in self._jobs.values()}))
            self.notes.append(
                f"{len(self._jobs)} jobs of Slurm go on without this driver; the same command takes up what they come to, "
                f"and `scancel {numbers}` would end them."
            )
        elif not self.leave:
            for _, job in self._jobs.values():
                with suppress(OSError):
                    job.cancel(check=False)
            self._wait_for_cancelled()
        self._jobs = {}

    def _wait_for_cancelled(self) -> None:
        until = time.monotonic() + 2 * LOOK
        while time.monotonic() < until and not all(job.done() for _, job in self._jobs.values()):
            time.sleep(LOOK / 4)
        for key in list(self._jobs):
            self._forget(key, keep_logs=True)

    def _submitted(self, tasks: Sequence[Task]) -> list[Any]:
        """The jobs, whose numbers are on disk."""
        executor = self._executor(tasks)
        runs = [SlurmRun(task=self._on_node(task), processes=self.processes) for task in tasks]
        try:
            with executor.batch():
                jobs: list[Any] = [executor.submit(run) for run in runs]
        except Exception as error:  # submitit raises what the command line of Slurm made of it
            raise ForescaleError(
                f"Slurm did not take {len(tasks)} jobs ({' '.join(str(error).split())[:300]}): correct the options, or look "
                "at the cluster; nothing is lost."
            ) from None
        for task, job in zip(tasks, jobs, strict=True):
            _record(task).write_text(job.job_id, encoding="utf-8")
        return jobs

    def _on_node(self, task: Task) -> Task:
        parallel = {"parallel": self.parallel} if self.processes > 1 else {}
        return on(task, threads=self.cpus, **parallel)

    def _executor(self, tasks: Sequence[Task]) -> Any:
        submitit = _submitit()
        folder = _folder(tasks[0])
        folder.mkdir(parents=True, exist_ok=True)
        try:
            executor = submitit.AutoExecutor(folder=folder, cluster=self.cluster)
            executor.update_parameters(timeout_min=math.ceil(self._time(tasks) / 60), **self._options)
        except (RuntimeError, ValueError, AssertionError, NameError) as error:
            text = " ".join(str(error).split())
            raise ForescaleError(
                f"there is no Slurm here that submitit can use ({text}): sweep on a node that has sbatch and srun, or "
                "choose another engine."
            ) from None
        return executor

    def _time(self, tasks: Sequence[Task]) -> float:
        """Seconds of a job: as given, or by the longest time limit."""
        limits = [task.job.time_limit for task in tasks if task.job.time_limit is not None]
        return self.time or (max(limits) + SLACK if len(limits) == len(tasks) else HOURS * 3600)

    def _known(self, task: Task) -> Any:
        """The job that an earlier driver queued for this run, if it has not ended."""
        try:
            number = _record(task).read_text("utf-8")
        except OSError:
            return None
        tasks = list(range(self.processes))
        if self.cluster == "slurm":
            job = _submitit().SlurmJob(folder=_folder(task), job_id=number, tasks=tasks)
            return None if job.done(force_check=True) else job
        return None

    def _outcome(self, key: str) -> Outcome | None:
        """What a job has come to, None while it goes on; the run's folder is asked first."""
        task, job = self._jobs[key]
        if (known := outcome_of(task.folder)) is not None:
            return known
        if not job.paths.result_pickle.exists():
            return self._lost(key, job)
        try:
            outcome: Outcome = job.task(0).result()
        except Exception as error:  # what the job raised: it was preempted or out of time too often, or had a fault
            return Outcome(state="lost", problem=_told(error, job))
        if outcome.state == "failed":
            return replace(outcome, problem=f"{outcome.problem} (log: {job.paths.stderr})")
        return outcome

    def _lost(self, key: str, job: Any) -> Outcome | None:
        """The outcome of a job that has ended and left no result; file systems may take a while to show one."""
        if not job.done():
            return None
        ended = self._ended.setdefault(key, time.monotonic())
        if time.monotonic() - ended < SETTLE:
            return None
        return Outcome(state="lost", problem=f"its job {job.job_id} ended without a result (state {job.state})")

    def _forget(self, key: str, *, keep_logs: bool) -> None:
        task, job = self._jobs.pop(key)
        self._ended.pop(key, None)
        _record(task).unlink(missing_ok=True)
        if not keep_logs:
            for file in _folder(task).glob(f"{job.job_id}_*"):
                file.unlink(missing_ok=True)


def _submitit() -> Any:
    try:
        import submitit
    except ModuleNotFoundError:
        raise MissingExtraError("the Slurm engine needs submitit: pip install 'forescale[sweep]'") from None
    return submitit


def _folder(task: Task) -> Path:
    return task.folder.parent / FOLDER


def _record(task: Task) -> Path:
    """Where the number of a run's job is kept: not in the run's own folder, which must be new when the run starts."""
    return _folder(task) / task.key


def _told(error: Exception, job: Any) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip().strip("-")]
    return f"its job {job.job_id} failed ({lines[-2] if len(lines) > 1 else error}; log: {job.paths.stderr})"
