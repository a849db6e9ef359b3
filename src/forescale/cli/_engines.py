"""From the options on where runs are made to an engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from forescale.errors import ForescaleError

if TYPE_CHECKING:
    from forescale.sweep.engines import Engine

ENGINES = ("local", "ray", "slurm")
FOR = {"address": "ray", "slurm": "slurm"}  # option -> the engine that it is for


def make_engine(options: Mapping[str, Any]) -> Engine:
    """The engine that --engine names, with the options that are for it."""
    from forescale.sweep import engines

    name = options["engine"]
    if name not in ENGINES:
        raise ForescaleError(f"--engine must be one of {', '.join(ENGINES)}; got {name!r}: choose one.")
    for option, owner in FOR.items():
        if options[option] is not None and name != owner:
            raise ForescaleError(f"--{option} is for --engine {owner}; the engine is {name}: leave it out.")
    return engines.LocalEngine(workers=options["workers"], threads=options["threads"], device=options["device"])
