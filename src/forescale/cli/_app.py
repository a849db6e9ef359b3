"""The commands and their options; each command only reads its input, calls the library and prints."""

from __future__ import annotations

from cyclopts import App, CycloptsError

from forescale.cli._check import check
from forescale.cli._critical_batch import critical_batch
from forescale.cli._fit import fit
from forescale.cli._forecast import forecast
from forescale.cli._frontier import frontier
from forescale.cli._laws import laws
from forescale.cli._plan import plan
from forescale.cli._runs import runs
from forescale.cli._schedule import schedule
from forescale.cli._score import score
from forescale.cli._suggest import suggest
from forescale.cli._sweep import sweep
from forescale.cli._train import train
from forescale.cli._tune import tune
from forescale.cli._watch import watch
from forescale.errors import ForescaleError


def app() -> App:
    """The command line application; errors are raised, not printed."""
    root = App(
        name="forescale",
        help="Predict, calibrate and verify the hyperparameters of language model pretraining.",
        version=_version,
        exit_on_error=False,
        print_error=False,
        result_action="return_none",
    )
    for command in (
        plan,
        train,
        tune,
        sweep,
        score,
        fit,
        suggest,
        frontier,
        runs,
        check,
        schedule,
        forecast,
        critical_batch,
        watch,
        laws,
    ):
        root.command(command)
    return root


def one_sentence(error: Exception) -> str | None:
    """What cyclopts found wrong with the options, as one line; None for any other exception."""
    if not isinstance(error, CycloptsError):
        return None
    if isinstance(error.__cause__, ForescaleError):
        return str(error.__cause__)
    return f"{' '.join(str(error).split())} `forescale --help` lists the commands, `forescale COMMAND --help` their options."


def _version() -> str:
    from forescale import __version__

    return __version__
