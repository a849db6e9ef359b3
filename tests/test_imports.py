"""What loads what: the light path stays light, and no floor of the house leans on one above it."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import forescale

PACKAGE = Path(forescale.__file__).parent
HEAVY = {"matplotlib", "numpy", "polars", "scipy", "torch"}
# From the ground up. A module may import from its own floor and from those below; a new module needs a floor here.
FLOORS = (
    {"errors", "quantities"},
    {"workload", "schedules", "recipe"},
    {"runs", "laws", "parametrize", "optimizers"},
    {"fit", "curves", "noise", "forecast"},
    {"plan"},
    {"train"},
    {"check"},
    {"sweep"},
    {"plots"},
    {"report"},
    {"cli"},
    {"__init__", "__main__"},
)
PLAN = ["plan", "--params", "7e9", "--tokens", "1.4e12", "--seq-len", "4096"]
# Prints which top-level modules a statement loaded, as the last line of stderr.
PROBE = """
import atexit, json, runpy, sys
before = set(sys.modules)
report = lambda: print(json.dumps(sorted({m.partition(".")[0] for m in set(sys.modules) - before})), file=sys.stderr)
atexit.register(report)
"""


def loaded_by(statement: str, *arguments: str) -> set[str]:
    """The top-level modules that a fresh interpreter loads for `statement`."""
    done = subprocess.run([sys.executable, "-c", PROBE + statement, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stderr.splitlines()[-1]))


def test_import_loads_the_standard_library_at_most() -> None:
    loaded = loaded_by("import forescale")
    assert loaded <= {"forescale"} | sys.stdlib_module_names


def test_the_probe_sees_what_is_loaded() -> None:
    assert "numpy" in loaded_by("import numpy")


@pytest.mark.parametrize("option", [[], ["--json"], ["--explain"], ["--export", "torchtitan"]], ids=" ".join)
def test_plan_loads_nothing_heavy(option: list[str]) -> None:
    loaded = loaded_by("runpy.run_module('forescale', run_name='__main__', alter_sys=True)", *PLAN, *option)
    assert "cyclopts" in loaded
    assert not loaded & HEAVY


def test_no_submodule_takes_the_place_of_a_public_name() -> None:
    # Importing forescale.x sets the attribute `x` of the package, whatever a lazy `__getattr__` would have said.
    for name in forescale.__all__:
        getattr(forescale, name)
    modules = [name for name in forescale.__all__ if isinstance(getattr(forescale, name), ModuleType)]
    assert not modules


def test_every_module_stands_on_a_floor() -> None:
    tops = {p.stem for p in PACKAGE.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}
    assert tops <= set().union(*FLOORS)


def test_no_module_imports_from_a_floor_above() -> None:
    upward = [
        f"{path.relative_to(PACKAGE)}:{line} imports {target}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for line, target in internal_imports(path.read_text(encoding="utf-8"))
        if floor_of(target) > floor_of(path.relative_to(PACKAGE).parts[0].removesuffix(".py"))
    ]
    assert not upward


def test_the_walk_sees_every_way_to_import() -> None:
    source = """
import forescale.plan.export
from forescale import laws, __version__
from forescale.runs import Runs
def lazily():
    from forescale.fit import score
if TYPE_CHECKING:
    from forescale.cli import main
import json
"""
    assert [target for _, target in internal_imports(source)] == ["plan", "laws", "runs", "fit", "cli"]


def floor_of(module: str) -> int:
    return next(i for i, floor in enumerate(FLOORS) if module in floor)


def internal_imports(source: str) -> Iterator[tuple[int, str]]:
    """Line and top-level module of each import from the package, lazy ones and ones for type checkers too."""
    nodes = (n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Import | ast.ImportFrom))
    for node in sorted(nodes, key=lambda n: n.lineno):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif node.module == "forescale":
            names = [f"forescale.{alias.name}" for alias in node.names if not alias.name.startswith("__")]
        else:
            assert node.level == 0, "imports are absolute"
            names = [node.module or ""]
        for name in names:
            package, _, rest = name.partition(".")
            if package == "forescale" and rest:
                yield node.lineno, rest.partition(".")[0]
