"""From the name of a scheme to its rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from forescale.errors import ForescaleError, UnknownNameError
from forescale.parametrize._everett import Everett
from forescale.parametrize._family import COMPLETED_P, COMPLETEP, MUP, STANDARD, SUPAR
from forescale.parametrize._roles import ROLES
from forescale.parametrize._rules import Rules, Scheme
from forescale.parametrize._umup import UMup
from forescale.quantities import as_float, positive
from forescale.workload import Shape

SCHEMES: tuple[str, ...] = ("standard", "mup", "completep", "completed-p", "supar", "everett", "u-mup")
"""The schemes that `parametrization` knows."""

_INIT_STD = 0.02  # GPT-2's
_FAMILY = {s.name: s for s in (STANDARD, MUP, COMPLETEP, COMPLETED_P, SUPAR)}
# Which options mean something to which scheme; everything else is refused there.
_OPTIONS = {
    "alpha": ("completep", "completed-p"),
    "batch_ratio": ("completed-p",),
    "tokens_ratio": ("completed-p",),
    "density": ("supar",),
    "form": ("everett",),
    "optimizer": ("everett",),
    "alignment": ("everett",),
}


def parametrization(
    name: str,
    *,
    base: Shape,
    alpha: float | None = None,
    batch_ratio: float | None = None,
    tokens_ratio: float | None = None,
    density: float | Mapping[str, float] | None = None,
    form: Any = None,
    optimizer: Any = None,
    alignment: Any = None,
    init_std: float = _INIT_STD,
    zero_readout: bool = False,
    roles: Mapping[str, str] | None = None,
    attention_scaled: bool = False,
    base_multipliers: Mapping[str, float] | None = None,
) -> Rules:
    """The rules of a scheme around a base shape, of which width and depth count (and the head size where it is given).

    standard: every tensor alike. mup: width. completep: width and depth, residual branches x depth ratio^-alpha (alpha from
    1/2 to 1). completed-p: also `batch_ratio` and `tokens_ratio`, this run's over the base's. supar: mup with `density`, one
    number or one a name. everett: `form` (standard, ntk, mup, mean-field), `optimizer` (adam, sgd, adafactor), `alignment`
    (full, none). u-mup: initial values of unit scale and its rates; knows no base.
    `roles` declares what names do not say, `init_std` is that of the base, `base_multipliers` are those (residual, logits) that
    the base's own forward has. Raises `ForescaleError` for what a scheme does not know.
    """
    given = {
        "alpha": alpha,
        "batch_ratio": batch_ratio,
        "tokens_ratio": tokens_ratio,
        "density": density,
        "form": form,
        "optimizer": optimizer,
        "alignment": alignment,
    }
    scheme = _scheme(name, {key: value for key, value in given.items() if value is not None})
    _check(base, roles or {}, base_multipliers or {}, density)
    if scheme.absolute_std and init_std != _INIT_STD:
        raise ForescaleError(f"{name} states its own initial values; got init_std {init_std}: leave it out.")
    if name == "standard" and base_multipliers:
        raise ForescaleError("standard takes over no multipliers; got base_multipliers: leave them out.")
    return Rules(
        scheme=scheme,
        base=base,
        init_std=positive(as_float(init_std, "init_std"), "init_std"),
        batch_ratio=positive(1.0 if batch_ratio is None else batch_ratio, "batch_ratio"),
        tokens_ratio=positive(1.0 if tokens_ratio is None else tokens_ratio, "tokens_ratio"),
        density=1.0 if density is None else density,
        roles=dict(roles or {}),
        zero_readout=zero_readout,
        attention_scaled=attention_scaled,
        base_multipliers=dict(base_multipliers or {}),
    )


def _scheme(name: str, given: Mapping[str, Any]) -> Scheme:
    if name not in SCHEMES:
        raise UnknownNameError(f"a parametrization is one of {', '.join(SCHEMES)}; got {name!r}.")
    for option in given:
        if name not in _OPTIONS[option]:
            raise ForescaleError(
                f"{option} belongs to {' and '.join(_OPTIONS[option])}; got it for {name}: leave it out."
            )
    if name == "everett":
        scheme = Everett(**given)
        _ = scheme.exponents  # refuses unknown words now
        return scheme
    if name == "u-mup":
        return UMup()
    alpha = given.get("alpha", 1.0)
    if not 0.5 <= as_float(alpha, "alpha") <= 1:
        raise ForescaleError(f"alpha must lie between 1/2 and 1 (CompleteP, 2505.01618); got {alpha:g}.")
    return replace(_FAMILY[name], alpha=float(alpha))


def _check(
    base: object,
    roles: Mapping[str, str],
    multipliers: Mapping[str, float],
    density: float | Mapping[str, float] | None,
) -> None:
    if not isinstance(base, Shape):
        raise ForescaleError(f"base must be a Shape, such as Shape(width=256, depth=4); got {base!r}.")
    if wrong := {role for role in roles.values() if role not in ROLES}:
        raise UnknownNameError(f"a role is one of {', '.join(ROLES)}; got {', '.join(sorted(map(repr, wrong)))}.")
    if wrong := set(multipliers) - {"residual", "logits"}:
        raise UnknownNameError(f"base_multipliers has residual and logits; got {', '.join(sorted(wrong))}.")
    for value in multipliers.values():
        positive(value, "a base multiplier")
    densities = density.values() if isinstance(density, Mapping) else () if density is None else (density,)
    for value in densities:
        if not 0 < as_float(value, "density") <= 1:
            raise ForescaleError(f"density is the share of weights kept, above 0 and at most 1; got {value:g}.")
