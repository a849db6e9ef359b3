"""MkDocs hook: the command line reference, read from the commands' signatures and docstrings without running them."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

CLI = Path(__file__).parents[2] / "src" / "forescale" / "cli"
PAGE = "reference/cli.md"
COMMANDS = ("plan", "score", "laws")


def page() -> str:
    """The Markdown of the whole page."""
    lead = "`forescale COMMAND --help` prints the same. Bad input is one sentence on stderr and exit code 2."
    return "\n".join(["# Command line", "", lead, "", *(line for name in COMMANDS for line in _command(name))])


def _command(name: str) -> list[str]:
    tree = ast.parse((CLI / f"_{name}.py").read_text(encoding="utf-8"))
    function = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == name)
    text, _, described = (ast.get_docstring(function) or "").partition("Parameters\n----------\n")
    docs = {key: " ".join(body.split()) for key, body in re.findall(r"^(\w+)\n((?: +.*\n?|\n)+)", described, re.M)}
    lines = [f"## forescale {name}", "", text.strip(), "", "| Option | Meaning |", "| --- | --- |"]
    return [*lines, *(f"| {option} | {docs[key]}{default} |" for key, option, default in _options(function)), ""]


def _options(function: ast.FunctionDef) -> list[tuple[str, str, str]]:
    arguments = function.args
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    positional = len(arguments.posonlyargs) + len(arguments.args)
    required = [None] * (positional - len(arguments.defaults))
    rows: list[tuple[str, str, str]] = []
    for argument, default in zip(named, [*required, *arguments.defaults, *arguments.kw_defaults], strict=True):
        key, flag = argument.arg, "--" + argument.arg.replace("_", "-")
        value = ast.literal_eval(default) if isinstance(default, ast.Constant) else None
        if argument not in arguments.kwonlyargs:
            flag = key.upper()
        elif value is True:
            flag = f"{flag}, --no-{flag[2:]}"
        said = default is None or value in (None, False, True) or "default" in docs[key]
        rows.append((key, f"`{flag}`", "" if said else f" Default: `{value}`."))
    return rows


def on_files(files: Any, config: Any) -> Any:
    """Add the page to the site."""
    from mkdocs.structure.files import File

    files.append(File.generated(config, PAGE, content=page()))
    return files
