"""The command line: `forescale plan`, `forescale score`, `forescale fit`, `forescale laws`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn

from forescale.errors import ForescaleError

BAD_INPUT = 2


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command; bad input is one sentence on stderr and exit code 2, never a traceback."""
    from forescale.cli._app import app, one_sentence

    try:
        app()(list(sys.argv[1:] if arguments is None else arguments))
    except ForescaleError as error:
        _fail(str(error))
    except ModuleNotFoundError as error:
        if (error.name or "forescale").startswith("forescale"):
            raise
        _fail(
            f"this needs {error.name}, which is not installed here: pip install {error.name} (pip install forescale has all)."
        )
    except BrokenPipeError:
        # The reader went away (`| head`): nothing is left to say, not even by the interpreter's last flush.
        sys.stderr.close()
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if (sentence := one_sentence(error)) is None:
            raise
        _fail(sentence)
    sys.exit(0)


def _fail(sentence: str) -> NoReturn:
    print(f"forescale: {sentence}", file=sys.stderr)
    sys.exit(BAD_INPUT)
