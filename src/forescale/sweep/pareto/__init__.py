"""Two objectives: the loss against a second metric, such as what a model costs to use. Which settings are worth having."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forescale.sweep.pareto._costs import decoding_speed as decoding_speed
    from forescale.sweep.pareto._costs import step_memory as step_memory
    from forescale.sweep.pareto._costs import step_seconds as step_seconds
    from forescale.sweep.pareto._decode import Decoding as Decoding
    from forescale.sweep.pareto._explore import explore as explore
    from forescale.sweep.pareto._explore import front_of as front_of
    from forescale.sweep.pareto._explore import open_study as open_study
    from forescale.sweep.pareto._front import Front as Front
    from forescale.sweep.pareto._front import make_front as make_front
    from forescale.sweep.pareto._points import DECODING_SPEED as DECODING_SPEED
    from forescale.sweep.pareto._points import FLOPS_PER_TOKEN as FLOPS_PER_TOKEN
    from forescale.sweep.pareto._points import STEP_MEMORY as STEP_MEMORY
    from forescale.sweep.pareto._points import STEP_SECONDS as STEP_SECONDS
    from forescale.sweep.pareto._points import Metric as Metric
    from forescale.sweep.pareto._points import Point as Point
    from forescale.sweep.pareto._points import flops_per_token as flops_per_token
    from forescale.sweep.pareto._points import front as front
    from forescale.sweep.pareto._points import hypervolume as hypervolume
    from forescale.sweep.pareto._points import reference_point as reference_point
    from forescale.sweep.pareto._sampler import ParetoSampler as ParetoSampler

_HOMES = {
    "DECODING_SPEED": "_points",
    "Decoding": "_decode",
    "FLOPS_PER_TOKEN": "_points",
    "Front": "_front",
    "Metric": "_points",
    "ParetoSampler": "_sampler",
    "Point": "_points",
    "STEP_MEMORY": "_points",
    "STEP_SECONDS": "_points",
    "decoding_speed": "_costs",
    "explore": "_explore",
    "flops_per_token": "_points",
    "front": "_points",
    "front_of": "_explore",
    "hypervolume": "_points",
    "make_front": "_front",
    "open_study": "_explore",
    "reference_point": "_points",
    "step_memory": "_costs",
    "step_seconds": "_costs",
}

__all__ = [
    "DECODING_SPEED",
    "FLOPS_PER_TOKEN",
    "STEP_MEMORY",
    "STEP_SECONDS",
    "Decoding",
    "Front",
    "Metric",
    "ParetoSampler",
    "Point",
    "decoding_speed",
    "explore",
    "flops_per_token",
    "front",
    "front_of",
    "hypervolume",
    "make_front",
    "open_study",
    "reference_point",
    "step_memory",
    "step_seconds",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'forescale.sweep.pareto' has no attribute {name!r}")
    return getattr(import_module(f"forescale.sweep.pareto.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
