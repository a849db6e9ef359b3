"""MkDocs hook: the command line reference, read from the commands' signatures and docstrings without running them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CLI = Path(__file__).parents[2] / "src" / "forescale" / "cli"
PAGE = "reference/cli.md"
COMMANDS = (
    *("plan", "train", "tune", "sweep", "runs", "score", "fit", "suggest", "frontier", "check", "schedule"),
    *("forecast", "watch", "critical-batch", "laws"),
)


def page() -> str:
    """The Markdown of the whole page."""
    lead = "`forescale COMMAND --help` prints the same. Bad input is one sentence on stderr and exit code 2."
    return "\n".join(["# Command line", "", lead, "", *(line for name in COMMANDS for line in _command(name))])


def _command(name: str) -> list[str]:
    plain = name.replace("-", "_")
    tree = ast.parse((CLI / f"_{plain}.py").read_text(encoding="utf-8"))
    function = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == plain)
    text, _, described = (ast.get_docstring(function) or "").partition("Parameters\n----------\n")
    docs = {key: " ".join(body.split()) for key, body in re.findall(r"^(\w+)\n((?: +.*\n?|\n)+)", described, re.M)}
    docs = {key: re.sub(r",(?=\S)", ",<wbr>", text) for key, text in docs.items()}  # long examples break at commas
    rows = [f"| `{flag}` | {docs[key]}{default} |" for key, flag, default in _arguments(function.args)]
    return [f"## forescale {name}", "", text.strip(), "", "| Option | Meaning |", "| --- | --- |", *rows, ""]


def _arguments(arguments: ast.arguments) -> Iterator[tuple[str, str, str]]:
    """Name, flag and default, in words, of what a command takes."""
    for argument in (*arguments.posonlyargs, *arguments.args):
        yield argument.arg, argument.arg.upper(), ""
    if arguments.vararg:
        yield arguments.vararg.arg, f"{arguments.vararg.arg.upper()}...", ""
    for argument, node in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        flag = "--" + argument.arg.replace("_", "-")
        default = ast.literal_eval(node) if node else None
        if default is True:
            flag = f"{flag}, --no-{flag[2:]}"
        yield (
            argument.arg,
            flag,
            "" if default in (None, "") or isinstance(default, bool) else f" Default: `{default}`.",
        )


def on_files(files: Any, config: Any) -> Any:
    """Add the page to the site."""
    from mkdocs.structure.files import File

    files.append(File.generated(config, PAGE, content=page()))
    return files
