"""Schedules in the form that other libraries take: PyTorch's LambdaLR, optax."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from forescale.errors import ForescaleError
from forescale.quantities import positive
from forescale.schedules._check import Schedule, step_count, step_index
from forescale.schedules._steps import factor_at


def lr_lambda(schedule: Schedule, steps: int) -> Callable[[int], float]:
    """The function step -> factor that `torch.optim.lr_scheduler.LambdaLR` takes; from `steps` on, the last factor.

    LambdaLR multiplies the learning rate that each group started with. It asks for step 0 when it is made and for the
    next one at each `scheduler.step()`, so that step i trains at `factor_at(schedule, i, steps)`. Hugging Face's Trainer
    takes both as `optimizers=(optimizer, LambdaLR(optimizer, lr_lambda(schedule, max_steps)))`. LambdaLR saves its place
    and not the function: make it again before `load_state_dict`.
    """
    last = step_count(steps) - 1

    def factor(step: int) -> float:
        return factor_at(schedule, min(step_index(step), last), last + 1)

    return factor


def optax_schedule(schedule: Schedule, steps: int, peak: float) -> Callable[[Any], Any]:
    """The function count -> learning rate that optax takes: `peak` × the factor of step count; beyond, the last one's.

    `count` is a whole number from 0 or an integer array; a number answers a float. An array answers an array of its own
    library and shape, in that library's default precision, looked up in a table of `steps` values, so that JAX can trace
    it; counts below 0 in an array answer step 0. Raises `ForescaleError` for counts that are not whole.
    """
    steps, peak = step_count(steps), positive(peak, "peak")
    rates = [peak * factor_at(schedule, step, steps) for step in range(steps)]

    def learning_rate(count: Any) -> Any:
        if hasattr(count, "__array_namespace__"):
            return _look_up(rates, count)
        return rates[min(step_index(count), steps - 1)]

    return learning_rate


def _look_up(rates: list[float], counts: Any) -> Any:
    library = counts.__array_namespace__()
    if not library.isdtype(counts.dtype, "integral"):
        raise ForescaleError(f"counts must be whole numbers; got an array of {counts.dtype}: convert it.")
    return library.asarray(rates)[library.clip(counts, 0, len(rates) - 1)]
