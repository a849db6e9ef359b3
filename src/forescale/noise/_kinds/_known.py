"""Which modules' parameters a meter can follow, and by which rule.

A module may say it itself, by an attribute `noise_rules` that maps its methods to rules: {"forward": "linear"}.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

TORCHS: Mapping[Any, str] = {
    nn.Linear: "linear",
    nn.Embedding: "embedding",
    nn.LayerNorm: "layer_norm",
    nn.RMSNorm: "rms_norm",
}
SMALL = 1e-3  # at this size an epsilon of 1e-5 or 1e-6 is most of what a norm divides by


class Seen:
    """A module as its own forward pass sees it, with some parameters replaced."""

    def __init__(self, module: nn.Module, replaced: Mapping[str, Any]) -> None:
        self._module, self._replaced = module, replaced

    def __getattr__(self, name: str) -> Any:
        if name in self._replaced:
            return self._replaced[name]
        return getattr(self._module, name)


def rules_of(module: nn.Module) -> dict[str, str] | None:
    """Methods of a module and their rules; {} where it has no parameters of its own, None where none is known."""
    if stated := getattr(module, "noise_rules", None):
        return dict(stated)
    parameters = dict(module.named_parameters(recurse=False))
    if not parameters:
        return {}
    forward = type(module).forward
    own = vars(module).get("forward")
    if own is not None and getattr(own, "__func__", None) is not forward:
        return None  # this one module was given a method of its own
    if "weight" not in parameters and hasattr(module, "weight"):
        return None  # it is made of other parameters
    if type(module).__name__ == "Conv1D" and type(module).__module__.startswith("transformers"):
        return {"forward": "linear"}
    for owner, rule in TORCHS.items():
        if forward is owner.forward:
            return None if _unusual(module) else {"forward": rule}
    return _probed(module, parameters)


def _unusual(module: Any) -> bool:
    """Whether one of torch's modules is used in a way that its rule does not have."""
    if isinstance(module, nn.Embedding):
        return module.max_norm is not None or module.sparse or module.scale_grad_by_freq
    if isinstance(module, nn.Linear):  # nn.MultiheadAttention does not call its own
        return isinstance(module, nn.modules.linear.NonDynamicallyQuantizableLinear)
    return module.weight.dim() > 1  # a norm over several dimensions


def _probed(module: nn.Module, parameters: Mapping[str, Tensor]) -> dict[str, str] | None:
    """A norm of someone's own: try on random numbers what it does with its vectors."""
    vectors = all(p.dim() == 1 for p in parameters.values()) and len({p.shape for p in parameters.values()}) == 1
    if not vectors or any(True for _ in module.children()) or any(True for _ in module.buffers()):
        return None
    size = next(iter(parameters.values())).shape[0]
    x, given = _sample((2, 5, size)), {name: _sample((size,)) for name in parameters}
    plain, alone = _run(module, given, x), _run(module, given, x[:1])
    if plain is None or plain.shape != x.shape or not _same(alone, plain[:1]):
        return None
    if _same(_run(module, {n: v.expand(2, 1, size) for n, v in given.items()}, x), plain):
        scaled = _run(module, given, 8 * x)
        return {"forward": "broadcast" if _same(scaled, plain, 1e-2) else "scale"}
    return next(({"forward": rule} for rule in ("layer_norm", "rms_norm") if _is(rule, module, given, x)), None)


def _is(rule: str, module: nn.Module, given: Mapping[str, Tensor], x: Tensor) -> bool:
    """Whether a module is one of torch's norms under another name, with the epsilon that it states."""
    size, weight, bias, eps = x.shape[-1:], given.get("weight"), given.get("bias"), eps_of(module)
    if not set(given) <= {"weight", "bias"} or (rule == "rms_norm" and bias is not None):
        return False
    found = (
        functional.layer_norm(each, size, weight, bias, eps)
        if rule == "layer_norm"
        else functional.rms_norm(each, size, weight, eps)
        for each in (x, SMALL * x)
    )
    return all(_same(_run(module, given, each), y, 1e-4) for each, y in zip((x, SMALL * x), found, strict=True))


def _same(found: Tensor | None, expected: Tensor, tolerance: float = 1e-5) -> bool:
    return (
        found is not None
        and found.shape == expected.shape
        and torch.allclose(found, expected, rtol=tolerance, atol=tolerance)
    )


def _sample(shape: tuple[int, ...]) -> Tensor:
    generator = torch.Generator().manual_seed(math.prod(shape))
    return torch.randn(shape, generator=generator)


def _run(module: nn.Module, given: Mapping[str, Tensor], x: Tensor) -> Tensor | None:
    try:
        with torch.no_grad():
            y = type(module).forward(Seen(module, given), x)  # type: ignore[arg-type]  # stands in for the module
    except Exception:  # whatever a stranger's module raises, it is not one that is known
        return None
    return y.float() if isinstance(y, Tensor) else None


def eps_of(module: nn.Module) -> Any:
    """The epsilon that a norm states; 1e-5, torch's default, where it does not."""
    return next((getattr(module, n) for n in ("eps", "variance_epsilon", "epsilon") if hasattr(module, n)), 1e-5)
