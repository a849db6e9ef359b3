"""Files of a store, as data that nobody vouches for: bounded in number and size, never outside the folder given."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from forescale.errors import ForescaleError, MissingExtraError

MOST_FILES, DEEPEST = 500_000, 24
MOST_BYTES = 512 * 2**20  # of a JSON file; a trainer's log of a million steps has 200 MB
MOST_YAML = 8 * 2**20
SKIPPED = frozenset({".git", ".trash", "__pycache__", "node_modules", ".venv", "site-packages"})


def files_below(folder: Path) -> Iterator[Path]:
    """The regular files below a folder in a fixed order; links to folders are not followed, those to files not outside."""
    root = folder.resolve()
    for count, path in enumerate(_below(str(folder), str(root), 0)):
        if count >= MOST_FILES:
            raise ForescaleError(f"{folder} has more than {MOST_FILES:,} files: give the folder of the runs alone.")
        yield Path(path)


def _below(folder: str, root: str, depth: int) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        if depth:
            return  # a folder that may not be read holds no runs of the user's
        raise ForescaleError(f"the folder {folder} cannot be read: {error.strerror or error}.") from None
    for entry in found:
        if entry.is_dir(follow_symlinks=False):
            if depth < DEEPEST and entry.name not in SKIPPED:
                yield from _below(entry.path, root, depth + 1)
        elif entry.is_file() and (not entry.is_symlink() or _inside(entry.path, root)):
            yield entry.path


def _inside(path: str, root: str) -> bool:
    return os.path.realpath(path).startswith(root + os.sep)


def read_text(path: Path, most: int = MOST_BYTES) -> str:
    """The text of a file; `ForescaleError` for one that is unreadable, too large or not UTF-8."""
    try:
        if path.stat().st_size > most:
            raise ForescaleError(f"{path} is over {most // 2**20} MB: too large for what its name says.")
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ForescaleError(f"{path} cannot be read: {error.strerror or error}.") from None
    except UnicodeDecodeError:
        raise ForescaleError(f"{path} is not UTF-8 text.") from None


def read_json(path: Path) -> Any:
    """The content of a JSON file; `ForescaleError` naming it if it holds no JSON."""
    text = read_text(path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise ForescaleError(f"{path} is not valid JSON: it may be cut short.") from None


def read_json_lines(path: Path) -> Iterator[Any]:
    """The objects of a file with one JSON text a line; a last line that was cut short is left out."""
    lines = read_text(path).splitlines()
    for at, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            yield json.loads(line)
        except (ValueError, RecursionError):
            if at < len(lines):
                raise ForescaleError(f"{path} is not one JSON text a line: line {at} is none.") from None


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file, of plain data: an object of any other kind reads as empty; {} if it is no mapping."""
    try:
        yaml: Any = import_module("yaml")
    except ImportError:
        raise MissingExtraError(f"{path.name} needs PyYAML to read: pip install 'forescale[runs]'.") from None
    try:
        data: Any = yaml.load(read_text(path, MOST_YAML), Loader=_plain_loader(yaml))
    except (yaml.YAMLError, RecursionError, ValueError):
        raise ForescaleError(f"{path} is not valid YAML: it may be cut short.") from None
    return as_dict(data)


def _plain_loader(yaml: Any) -> Any:
    """PyYAML's safe loader, which builds no objects; where others wrote one, nothing is read in its place."""

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # the same in C, ten times as fast
        pass

    nothing: Callable[..., None] = lambda *_: None  # noqa: E731
    Loader.add_multi_constructor("", nothing)  # type: ignore[reportUnknownMemberType]
    return Loader


def as_dict(value: Any) -> dict[str, Any]:
    """The value if it is a mapping, else an empty one: what a store holds need not be what its tool writes."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def as_list(value: Any) -> list[Any]:
    """The value if it is a list, else an empty one."""
    return cast("list[Any]", value) if isinstance(value, list) else []


def settings_file(folder: Path, names: Iterable[str]) -> dict[str, Any]:
    """The first of these JSON or YAML files in a folder that holds a mapping, by its stem: {"args": {...}}."""
    for name in names:
        path = folder / name
        if path.is_file() and not path.is_symlink():
            data = as_dict(read_json(path) if path.suffix == ".json" else read_yaml(path))
            if data:
                return {path.stem: data}
    return {}
