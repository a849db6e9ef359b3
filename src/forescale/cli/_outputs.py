"""Files that a command writes: checked before any work is done, written after all of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from forescale.errors import ForescaleError


def check_destinations(destinations: Mapping[str, Path | None], inputs: Iterable[Path]) -> None:
    """Refuse files that cannot be written, that the command reads, or that are named twice; option -> file."""
    read = {path.resolve() for path in inputs}
    seen: dict[Path, str] = {}
    for option, path in destinations.items():
        if path is None:
            continue
        place = path.resolve()
        if place in read:
            raise ForescaleError(f"{option} must not overwrite what is read here; got {path}: name another file.")
        if place in seen:
            raise ForescaleError(f"{seen[place]} and {option} must be two files; got {path} for both.")
        seen[place] = option
        _check_writable(path)


def _check_writable(path: Path) -> None:
    folder = path.parent
    if path.is_dir():
        problem = "it is a folder"
    elif not folder.is_dir():
        problem = f"there is no folder {folder}"
    elif not os.access(path if path.exists() else folder, os.W_OK):
        problem = "permission denied"
    else:
        return
    raise ForescaleError(f"{path} cannot be written: {problem}.")


def write(path: Path, content: bytes) -> str:
    """Write a file; return what was done: wrote or overwrote."""
    done = "overwrote" if path.is_file() else "wrote"
    try:
        path.write_bytes(content)
    except OSError as error:
        raise ForescaleError(f"{path} cannot be written: {error.strerror or error}.") from None
    return done


def write_report(report: Path | None, page: str | None) -> None:
    """Write the page where one was asked for; it was made before anything was printed."""
    if report is not None and page is not None:
        sys.stdout.flush()  # what cannot be printed fails here, before a file is written
        print(f"forescale: {write(report, page.encode())} {report}", file=sys.stderr)
