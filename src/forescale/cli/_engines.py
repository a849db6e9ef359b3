"""From the options on where runs are made to an engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from forescale.cli._options import whole
from forescale.errors import ForescaleError
from forescale.quantities import parse_quantity

if TYPE_CHECKING:
    from forescale.sweep.engines import Engine

ENGINES = ("local", "ray", "slurm")
FOR = {"address": "ray", "slurm": "slurm"}  # option -> the engine that it is for
MINUTE = 60.0  # seconds; Slurm counts a job's time in minutes


def make_engine(options: Mapping[str, Any]) -> Engine:
    """The engine that --engine names, with the options that are for it."""
    from forescale.sweep import engines

    name = options["engine"]
    if name not in ENGINES:
        raise ForescaleError(f"--engine must be one of {', '.join(ENGINES)}; got {name!r}: choose one.")
    for option, owner in FOR.items():
        if options[option] is not None and name != owner:
            raise ForescaleError(f"--{option} is for --engine {owner}; the engine is {name}: leave it out.")
    if name == "local":
        return engines.LocalEngine(
            workers=options["workers"],
            threads=options["threads"],
            device=options["device"] or "auto",
            members="auto",
        )
    if options["workers"] is not None and name == "ray":
        raise ForescaleError(
            "--workers is for local and slurm; Ray runs as many as its cluster has room for: leave it out."
        )
    cpus, gpus = options["threads"] or 1, int(options["device"] == "cuda")
    if name == "ray":
        return engines.RayEngine(address=options["address"], cpus=cpus, gpus=gpus)
    given: dict[str, Any] = {"cpus": cpus, "gpus": gpus, **({"most": options["workers"]} if options["workers"] else {})}
    return engines.SlurmEngine(**given | read_slurm(options["slurm"] or {}))


def read_slurm(given: str | Mapping[str, Any]) -> dict[str, Any]:
    """`partition=gpu,time=60` as the engine takes it: time in minutes, memory in bytes; other names are sbatch's own."""
    pairs = _pairs(given) if isinstance(given, str) else {key: str(value) for key, value in given.items()}
    readers: dict[str, Callable[[str], Any]] = {
        **dict.fromkeys(("partition", "account", "parallel", "cluster"), str),
        **dict.fromkeys(
            ("cpus", "gpus", "nodes", "processes", "most"), lambda text: whole(text, "a number of --slurm")
        ),
        "time": lambda text: MINUTE * parse_quantity(text, "the time of --slurm, in minutes"),
        "memory": lambda text: parse_quantity(text, "the memory of --slurm, in bytes"),
    }
    made = {name: readers[name](text) for name, text in pairs.items() if name in readers}
    extra = {name: text for name, text in pairs.items() if name not in readers}
    return made | ({"extra": extra} if extra else {})


def _pairs(text: str) -> dict[str, str]:
    parts = [part.partition("=") for part in text.split(",") if part.strip()]
    if wrong := [name for name, equals, value in parts if not (equals and name.strip() and value.strip())]:
        raise ForescaleError(f"--slurm takes name=value pairs, such as partition=gpu,time=60; got {wrong[0]!r}.")
    return {name.strip(): value.strip() for name, _, value in parts}
