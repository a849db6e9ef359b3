"""CPU time of `forescale plan` as a process against `import torch`, and which heavy modules it loads."""

from __future__ import annotations

import statistics
import subprocess
import sys

import harness

ROUNDS = 7
PLAN = ["-m", "forescale", "plan", "--params", "7e9", "--tokens", "1.4e12", "--seq-len", "4096"]
HEAVY = ("torch", "scipy", "polars", "matplotlib", "numpy")


def main() -> None:
    """Target: at most 1/5 of the CPU time of importing torch, and none of the heavy modules loaded."""
    samples = harness.interleaved(
        ROUNDS,
        {
            "plan": lambda: harness.process_cpu_seconds(PLAN),
            "plan_json": lambda: harness.process_cpu_seconds([*PLAN, "--json"]),
            "import_torch": lambda: harness.process_cpu_seconds(["-c", "import torch"]),
            "bare_python": lambda: harness.process_cpu_seconds(["-c", "pass"]),
        },
    )
    harness.write(
        "plan",
        ["forescale", "torch", "cyclopts", "rich"],
        peer="python -c 'import torch'",
        rounds=ROUNDS,
        cpu_seconds={name: round(statistics.median(s), 4) for name, s in samples.items()},
        ratio_to_peer=round(harness.median_ratio(samples["plan"], samples["import_torch"]), 4),
        ratio_to_peer_json=round(harness.median_ratio(samples["plan_json"], samples["import_torch"]), 4),
        target_ratio=0.2,
        heavy_modules_loaded=_loaded(),
    )


def _loaded() -> list[str]:
    code = (
        "import sys, atexit; sys.argv = ['forescale'] + sys.argv[1:];"
        f"atexit.register(lambda: print([m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr));"
        "from forescale.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code, *PLAN[2:]], check=True, capture_output=True, text=True)
    return [name for name in HEAVY if f"'{name}'" in done.stderr]


if __name__ == "__main__":
    main()
