"""Lines that trainers print for people: nanoGPT, modded-nanogpt, llm.c, litgpt, Megatron, torchtitan, Hugging Face's dicts."""

from __future__ import annotations

import ast
import json
import re
from typing import Any, cast

NUMBER = r"([-+]?(?:\d[\d,]*\.?\d*|\.\d+)(?:e[-+]?\d+)?|nan|[-+]?inf(?:inity)?)\b"
SHOWN = re.compile(r"\x1b\[[0-9;]*m")  # colours of a terminal
# Our name -> what stands before the number; the first that is found counts. A name starts a line or follows a mark or a blank.
NAMES = {
    "step": (
        r"(?:global_?|train_?)?steps?",
        r"(?:at )?iteration",
        r"iter(?:ation)?s?",
        r"s",
        r"(?:num_)?updates?",
        r"",
    ),
    "loss": (
        r"lm[ _]loss",
        r"tr(?:ai)?n(?:ing)?[ _]loss",
        r"loss[ _]train",
        r"trl",
        r"(?:reduced_train_|ce_)?loss",
        r"train",
    ),
    "val_loss": (r"val(?:id(?:ation)?)?[ _]loss", r"eval[ _]loss", r"loss[ _]val", r"tel", r"val"),
    "learning_rate": (r"learning[ _]rate", r"lr"),
    "grad_norm": (r"(?:global_?)?grad(?:ient)?[ _]norm", r"gnorm", r"norm"),
}
BEFORE, BETWEEN = r"(?:^|[\s|{(\[,;])", r"(?:\s*[:=]\s*|\s+)"
FIRST_NUMBER = r"^(\d+)\s+(?=train\b|val\b|tr|te)"  # build-nanogpt: `250 train 6.1`
HELD_OUT = re.compile(rf"validation loss at iteration\s+(\d+).*?lm loss value:\s*{NUMBER}", re.IGNORECASE)  # Megatron
OF_TOTAL = re.compile(r"(?:step|iteration|iter)\s*[:=]?\s*\d+\s*/\s*(\d+)", re.IGNORECASE)
FOUND = {
    name: [
        re.compile(f"{BEFORE}{each}{BETWEEN}{NUMBER}" if each else FIRST_NUMBER, re.IGNORECASE) for each in alternatives
    ]
    for name, alternatives in NAMES.items()
}


def printed(line: str) -> dict[str, Any] | None:
    """The record that a printed line holds, under our names; None for a line without a loss."""
    line = SHOWN.sub("", line)
    if (record := _dict_in(line)) is not None:
        return record
    if "loss" not in line.lower() and not re.search(r"\b(trl|tel|train|val)\b", line):
        return None
    if held_out := HELD_OUT.search(line):
        return {"step": _plain(held_out[1]), "val_loss": _plain(held_out[2])}
    record = {name: value for name, patterns in FOUND.items() if (value := _first(patterns, line)) is not None}
    if "step" not in record or not record.keys() & {"loss", "val_loss"}:
        return None
    total = OF_TOTAL.search(line)
    return record | ({"total_steps": total[1]} if total else {})


def _first(patterns: list[re.Pattern[str]], line: str) -> str | None:
    return next((_plain(found[1]) for pattern in patterns if (found := pattern.search(line))), None)


def _plain(number: str) -> str:
    return number.rstrip(",").replace(",", "")


def _dict_in(line: str) -> dict[str, Any] | None:
    """The dict that a line ends with, as JSON or as Python prints it, where it holds a loss."""
    start = line.find("{")
    text = line[start:].strip() if start >= 0 else ""
    if not text.endswith("}") or "loss" not in text or len(text) > 10_000:
        return None
    for read in (json.loads, ast.literal_eval):
        try:
            value: Any = read(text.replace(": nan", ": 'nan'") if read is ast.literal_eval else text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(value, dict):
            return cast("dict[str, Any]", value)
    return None
