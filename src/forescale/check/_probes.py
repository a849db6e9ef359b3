"""Where activations are read: modules that hold tensors of known roles."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from forescale.check._proxy import logits_of

CHANGED = ("embedding", "residual")  # |x| hides behind the initial values what a rate does that is too small
BRANCHES = ("attention", "ffn")  # outputs of residual branches, the mean over the blocks


@dataclass(frozen=True, kw_only=True)
class Probe:
    """One module whose output (or input) is an activation of a kind."""

    kind: str  # embedding, attention, ffn, residual (the stream before the last norm), logits
    module: str
    of_input: bool = False


def find_probes(rules: Any, model: Any) -> tuple[Probe, ...]:
    """The probes of a model, from the roles of its tensors; logits are read from what the model returns."""
    probes: dict[str, Probe] = {}
    for tensor in rules.tensors(model):
        home = tensor.name.rpartition(".")[0]
        if tensor.role == "embedding":
            probes[home] = Probe(kind="embedding", module=home)
        elif tensor.carries == "residual":
            kind = "attention" if "att" in tensor.name.lower() else "ffn"
            probes[home] = Probe(kind=kind, module=home)
        elif tensor.role == "norm" and not tensor.in_block:
            probes[home] = Probe(kind="residual", module=home, of_input=True)
    return tuple(probes.values())


def reader_of(model: Any, probes: tuple[Probe, ...], sequences: Any) -> Callable[[], dict[str, float]]:
    """A function that reads mean |x| of each kind in one forward pass, and of some how far they are from the first reading."""
    import torch

    first: dict[str, Any] = {}

    def read() -> dict[str, float]:
        seen: dict[str, list[Any]] = {}
        with torch.no_grad(), _hooked(model, probes, seen):
            seen["logits"] = [logits_of(model, sequences)]
        found = {kind: sum(map(_size, values)) / len(values) for kind, values in seen.items()}
        for kind in CHANGED:
            now = seen[kind][0]
            found[f"{kind} change"] = _size(now - first.setdefault(kind, now.clone()))
        return found

    return read


@contextmanager
def _hooked(model: Any, probes: tuple[Probe, ...], seen: dict[str, list[Any]]) -> Generator[None]:
    handles: list[Any] = []
    for probe in probes:
        module = model.get_submodule(probe.module)
        handles.append(module.register_forward_hook(_reader(probe, seen)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _reader(probe: Probe, seen: dict[str, list[Any]]) -> Any:
    def read(_module: Any, inputs: Any, output: Any) -> None:
        value = inputs[0] if probe.of_input else output
        seen.setdefault(probe.kind, []).append(value[0] if isinstance(value, tuple) else value)

    return read


def _size(value: Any) -> float:
    return float(value.detach().float().abs().mean())
