"""What every benchmark shares: CPU time of processes and calls, and a JSON file that says where it was measured."""

from __future__ import annotations

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).parent / "results"
DATA = Path(os.environ.get("FORESCALE_DATA", REPOSITORY.parent / "shared" / "data"))


def process_cpu_seconds(arguments: Sequence[str]) -> float:
    """User and system CPU seconds of one `python ...` process, which must succeed; with cached bytecode, as installed."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def call_cpu_seconds(call: Callable[[], object]) -> float:
    """CPU seconds of one call in this process."""
    start = time.process_time()
    call()
    return time.process_time() - start


def interleaved(rounds: int, variants: dict[str, Callable[[], float]]) -> dict[str, list[float]]:
    """Measure each variant once a round, in turn, after one round that does not count."""
    samples: dict[str, list[float]] = {name: [] for name in variants}
    for round_ in range(rounds + 1):
        for name, measure in variants.items():
            seconds = measure()
            if round_:
                samples[name].append(seconds)
    return samples


def median_ratio(ours: Sequence[float], peer: Sequence[float]) -> float:
    """Median over rounds of ours / peer, both measured in the same round."""
    return statistics.median(a / b for a, b in zip(ours, peer, strict=True))


def write(name: str, packages: Sequence[str], **results: Any) -> None:
    """Print the results and write them to results/NAME.json with the machine and the versions."""
    document = {"benchmark": name, "machine": _machine(), "versions": _versions(packages), **results}
    text = json.dumps(document, indent=2)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    print(text)


def _machine() -> dict[str, Any]:
    model = next(
        (line.split(":", 1)[1].strip() for line in _cpu_info().splitlines() if line.startswith("model name")),
        platform.processor(),
    )
    return {"cpu": model, "cores": os.cpu_count(), "system": f"{platform.system()} {platform.machine()}"}


def _cpu_info() -> str:
    path = Path("/proc/cpuinfo")
    return path.read_text() if path.exists() else ""


def _versions(packages: Sequence[str]) -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
