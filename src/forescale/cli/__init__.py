"""The command line: one module a command, and `main`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from io import TextIOWrapper
from typing import NoReturn

from forescale.errors import ForescaleError

BAD_INPUT = 2


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command; bad input is one sentence on stderr and exit code 2, never a traceback."""
    from forescale.cli._app import app, one_sentence

    _degrade_characters()
    try:
        app()(list(sys.argv[1:] if arguments is None else arguments))
        if sys.stdout is not None:
            sys.stdout.flush()
    except ForescaleError as error:
        _fail(str(error))
    except ModuleNotFoundError as error:
        _fail(_missing(error))
    except BrokenPipeError:
        _discard_output()  # the reader went away (`| head`): nothing is left to say
    except OSError as error:
        if error.filename is not None:
            raise
        _discard_output()
        _fail(f"the output cannot be written: {error.strerror or error}.")
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if (sentence := one_sentence(error)) is None:
            raise
        _fail(sentence)
    sys.exit(0)


def _missing(error: ModuleNotFoundError) -> str:
    package = (error.name or "forescale").partition(".")[0]
    if package == "forescale":
        raise error
    return f"this needs {package}, which is not installed here: pip install {package} (pip install forescale has all)."


def _degrade_characters() -> None:
    """Where the terminal's encoding lacks a character, print a question mark for it rather than fail."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")


def _discard_output() -> None:
    """Point standard output nowhere, so that the interpreter's last flush has nothing to complain about."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(sentence: str) -> NoReturn:
    print(f"forescale: {sentence}", file=sys.stderr)
    sys.exit(BAD_INPUT)
