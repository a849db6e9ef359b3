"""Plans built from plain numbers, and readers that turn exported text back into values."""

from __future__ import annotations

import ast
import math
import shlex
import types
from dataclasses import fields
from types import ModuleType
from typing import Any

from forescale.plan._values import Layout, Plan
from forescale.recipe import Recipe, Value
from forescale.workload import Shape, Workload

# Digits that a %g or a rounding to six places would change.
LR = 0.00031415926535897934
WEIGHT_DECAY = 0.1 + 1e-16 * 3
NUMBERS: dict[str, float | int] = {
    "learning_rate": LR,
    "steps": 397,
    "weight_decay": WEIGHT_DECAY,
    "timescale": 0.2,
    "beta1": 0.9,
    "beta2": 0.95,
    "epsilon": 1e-08,
    "warmup_steps": 37,
    "final_lr_ratio": 0.0,
    "grad_clip": 1.0,
    "init_std": 0.02,
}


def value(number: float | int | str, law: str = "bergsma-2025") -> Value:
    return Value(value=number, reason="a test's number", law=law)


def llama_shape() -> Shape:
    return Shape(layers=32, width=4096, heads=32, kv_heads=8, ffn_width=14336, vocab=128256)


def build_plan(
    *,
    schedule: str = "linear",
    devices: int = 64,
    micro_batch: int = 2,
    accumulation: int = 4,
    seq_len: int = 8192,
    shape: Shape | None = None,
    **changes: float | int,
) -> Plan:
    """An 8 B Llama on 64 devices; `changes` replace numbers of the recipe."""
    numbers = NUMBERS | changes
    layout = Layout(
        devices=devices,
        micro_batch=micro_batch,
        accumulation=accumulation,
        target_tokens=4e6,
    )
    tokens = int(numbers["steps"]) * layout.sequences * seq_len
    recipe = Recipe(
        **{name: value(number) for name, number in numbers.items()},
        batch_sequences=value(layout.sequences, "arithmetic"),
        batch_tokens=value(layout.sequences * seq_len, "power-lines"),
        schedule=value(schedule),
    )
    if shape is None:
        workload = Workload(params=6.98e9, tokens=tokens, seq_len=seq_len)
    else:
        workload = Workload.from_shape(shape, tokens=tokens, seq_len=seq_len)
    known = {"workload": workload, "recipe": recipe, "layout": layout, "warnings": ()}
    # Exporters read nothing else, so the rest of the plan stays empty whatever its fields are.
    parts: dict[str, Any] = {f.name: known.get(f.name) for f in fields(Plan)}
    return Plan(**parts)


def load_python(text: str) -> ModuleType:
    """Run exported Python as a module."""
    module = types.ModuleType("exported")
    exec(compile(text, "exported.py", "exec"), module.__dict__)
    return module


def python_values(text: str) -> dict[str, Any]:
    """Every keyword argument and attribute assignment of exported Python that has a literal value."""
    found: dict[str, Any] = {}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.keyword) and node.arg is not None:
            _keep(found, node.arg, node.value)
        elif isinstance(node, ast.Assign):
            _keep(found, ast.unparse(node.targets[0]).removeprefix("config."), node.value)
        elif isinstance(node, ast.Call) and len(node.args) == 1:
            _keep(found, ast.unparse(node.func), node.args[0])
    return found


def _keep(found: dict[str, Any], name: str, node: ast.expr) -> None:
    try:
        found[name] = ast.literal_eval(node)
    except ValueError:
        return


def shell_flags(text: str) -> dict[str, str]:
    """The flags of the exported bash array."""
    body = text.split("FORESCALE_ARGS=(\n")[1].split("\n)\n")[0]
    words = shlex.split(body, comments=True)
    if all("=" in word for word in words):
        words = [part for word in words for part in word.split("=", 1)]
    found: dict[str, str] = {}
    for word, after in zip(words, [*words[1:], "--"], strict=True):
        if word.startswith("--"):
            found[word.removeprefix("--")] = "" if after.startswith("--") else after
    return found


def schedule_factor(kind: str, step: float, steps: int, warmup: int, ratio: float) -> float:
    """The decay of `kind` at a (fractional) step from `warmup` on, for trainers that are a step early or late."""
    left = (steps - step) / (steps - warmup)
    shape = left if kind == "linear" else 0.5 - 0.5 * math.cos(math.pi * left)
    return ratio + (1 - ratio) * shape
