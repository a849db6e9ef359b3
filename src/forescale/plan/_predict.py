"""Ask a law for a quantity and keep everything a reader needs to judge the answer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from forescale.errors import ForescaleError
from forescale.laws import SYMBOLS, Z80, Formula, Law, spell, variables
from forescale.recipe import Value
from forescale.workload import Workload


def predict(law: Law, quantity: str, workload: Workload, extra: Mapping[str, Any]) -> Value:
    """The law's `quantity` for the workload as a `Value`; `extra` adds variables (batch, loss, a reference run)."""
    x = {**variables(workload, law), **extra}
    formula = law.formula(quantity)
    missing = [n for n in formula.inputs if x.get(n) is None]
    if missing:
        raise ForescaleError(f"law {law.name} needs {', '.join(missing)} for {quantity}: {_remedy(missing)}.")
    value = float(law.predict(quantity, **x))
    estimate = value / formula.caution
    sd, basis = _spread(law, formula, x)
    outside = law.outside(x)
    return Value(
        value=value,
        low=None if sd is None else estimate * math.exp(-Z80 * sd),
        high=None if sd is None else estimate * math.exp(Z80 * sd),
        reason=f"{law.title}: {formula.text()}{_at(formula, x)}",
        law=law.label,
        in_range=not outside if law.range else None,
        outside=outside,
        evidence=formula.evidence,
        unit=formula.unit if formula.unit_size == 1 else "tokens",
        interval=basis,
    )


def user_value(value: float | int | str, unit: str = "") -> Value:
    """A value that the user has decided."""
    return Value(value=value, reason="given by the user", law="user", unit=unit)


def _spread(law: Law, formula: Formula, x: Mapping[str, Any]) -> tuple[float | None, str]:
    """Standard deviation of the log value: the fit's own, and the law's error when moved to another lab."""
    own, moved = formula.log_sd(x), law.transfer_errors.get(formula.quantity)
    parts: list[str] = []
    if own is not None:
        parts.append(f"the fit's own uncertainty (one s.d. x/÷ {math.exp(own):.4g})")
    if moved is not None:
        parts.append(f"the error seen on other labs' runs ({moved.octaves:.2g} octaves: {moved.measured_on})")
    if not parts:
        return None, "no uncertainty is published for this law"
    sd = math.hypot(own or 0.0, moved.octaves * math.log(2) if moved else 0.0)
    return sd, "80 %: " + " and ".join(parts)


def _at(formula: Formula, x: Mapping[str, Any]) -> str:
    shown = [f"{SYMBOLS.get(n, n)} = {_spell(n, x[n])}" for n in formula.inputs]
    return f" at {', '.join(shown)}" if shown else ""


def _spell(variable: str, value: float) -> str:
    return spell(variable, value) if value >= 1000 else f"{value:.4g}"


def _remedy(missing: list[str]) -> str:
    if any(n.startswith("reference_") for n in missing):
        keys = ",".join(f"{n.removeprefix('reference_')}=..." for n in missing if n.startswith("reference_"))
        return f"it scales a run you already have; describe that run with --reference {keys}"
    if "width" in missing:
        return "give a model with --config or --shape"
    return "choose another law"
