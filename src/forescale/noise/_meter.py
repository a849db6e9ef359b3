"""A meter of the gradient noise scale: exact squared gradient norms of every example, from one ordinary backward pass."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from forescale.errors import ForescaleError
from forescale.noise._estimate import Averages, NoiseScale, Ratio, components, noise_scale, predicted, ratio
from forescale.noise._gradients import Processes, squared_norms
from forescale.noise._kinds._records import MOST_EXAMPLES
from forescale.noise._layers import Layer, find_layers
from forescale.noise._mixing import check_loss, check_uses, refuse_mixing, tensors_of
from forescale.noise._shares import Shares, gather
from forescale.noise._site import Hook

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.floating[Any]]

engine: Any = torch.autograd.Variable._execution_engine  # pyright: ignore


class Meter:
    """Follows a model's backward passes; three lines of a training script.

    `layers` is `all`, `norm` (the norm layers, at next to no cost) or names of modules (`*` stands for any text). With `norm` and
    `exact_every`, every so many steps are exact, and `noise_scale` is the norm layers' times the ratio that those steps show.
    `mean_over` says what the loss is a mean over: all `tokens` of a step that have a loss, or `examples`, each of which counts
    the same. `unknown` modules are an `error`, left out (`skip`), or `sampled`: measured a backward pass at a time. `beta` is of
    the moving averages, whose exact steps count exact steps alone. `group` holds the processes that share a batch (`world`: all
    there are; None: this one alone). `scaler` is a GradScaler whose scale the norms are freed of.

    Adds nothing to the model's state_dict and renames no parameter; `close()` leaves the model as it was. Raises
    `ForescaleError` for modules that it cannot follow and for losses that mix examples.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Literal["all", "norm"] | Iterable[str] = "all",
        *,
        exact_every: int | None = None,
        mean_over: Literal["tokens", "examples"] = "tokens",
        unknown: Literal["error", "skip", "sampled"] = "error",
        beta: float = 0.95,
        group: Any = "world",
        scaler: Any = None,
    ) -> None:
        if exact_every is not None and (layers != "norm" or exact_every < 1):
            raise ForescaleError(
                f'exact_every goes with layers="norm" and is 1 or more; got {exact_every} and {layers!r}: leave it out.'
            )
        if mean_over not in ("tokens", "examples"):
            raise ForescaleError(f"mean_over must be tokens or examples; got {mean_over!r}.")
        if unknown not in ("error", "skip", "sampled"):
            raise ForescaleError(f"unknown must be error, skip or sampled; got {unknown!r}.")
        self._averages = Averages(beta)
        refuse_mixing(model)
        self.examples: int | None = None  # of the forward pass that runs
        self.length: int | None = None
        wanted = "all" if exact_every is not None else layers
        self._layers = find_layers(self, model, wanted, unknown)
        self._partial, self._every = layers == "norm", exact_every
        self._mean_over, self._scaler, self._group = mean_over, scaler, group
        self._big: tuple[Tensor, Tensor] | None = None
        self._latest: Layer | None = None  # that a record came from
        self._whole = False  # whether its gradient was there when the last backward pass had ended
        self._outputs: list[Any] | None = []  # what the model's outputs came from, until a loss was checked
        self._counted: Shares | None = None  # of the last update
        self._tokens = self._scale = 1.0
        self._queued = False
        self._hooks = [
            model.register_forward_pre_hook(Hook(self._enter), with_kwargs=True),
            model.register_forward_hook(Hook(self._leave)),
        ]
        for layer in self._layers:
            layer.follow(self._arrived)

    # Forward and backward passes

    def _enter(self, _: nn.Module, arguments: tuple[Any, ...], named: Mapping[str, Any]) -> None:
        """Note the batch's size from the first tensor that the model is called with."""
        for value in (*arguments, *named.values()):
            if isinstance(value, Tensor) and value.dim() > 0:
                self.examples = value.shape[0]
                self.length = value.shape[1] if value.dim() > 1 else 1
                break
        if self.examples is not None and self.examples > MOST_EXAMPLES:
            raise ForescaleError(
                f"a noise meter holds {MOST_EXAMPLES} examples a backward pass; got {self.examples}: accumulate smaller ones."
            )
        if torch.is_grad_enabled() and not torch.compiler.is_compiling():
            self._begin()

    def _leave(self, _: nn.Module, __: Any, output: Any) -> None:
        if self._outputs is not None and torch.is_grad_enabled() and not torch.compiler.is_compiling():
            self._outputs += [tensor.grad_fn for tensor in tensors_of(output)]

    def _begin(self) -> None:
        """Gradients that were there, and are not, were set to None in between: a new step."""
        if self._whole and self._latest is not None and not self._latest.has_gradient():
            self._whole = False
            for layer in self._layers:
                layer.forget()

    def _arrived(self, layer: Layer) -> None:
        """A record comes; when this backward pass has ended, its gradients are read, before anyone clips them."""
        if not self._queued:
            self._queued = True
            engine.queue_callback(self._ending)
            self._begin()
            if self._outputs is not None:
                check_loss(self._outputs)
                check_uses({id(p): each.name for each in self._layers if each.follows for p in each.parameters})
                self._outputs = None
        self._latest = layer

    def _ending(self) -> None:
        engine.queue_callback(self._ended)  # behind the wrappers' own callbacks, which finish the gradients

    def _ended(self) -> None:
        self._queued = False
        assert self._latest is not None
        self._whole = self._latest.has_gradient()
        self._scale = 1.0 if self._scaler is None else float(self._scaler.get_scale())
        device = self._layers[0].parameters[0].device
        self._big = squared_norms([layer.parameters for layer in self._layers], device)

    # What it says

    def example_norms(self) -> Tensor:
        """The squared gradient norm of each example's own loss, (examples,), over all followed layers.

        Of this process's examples since the last `update()`, or since gradients were last set to None; right after an
        `update()`, of the step that it counted.
        """
        if self._counted is not None and not any(records for layer in self._layers for records in layer.records):
            return self._norms_of(self._counted)
        return self._norms_of(self._shares())

    def _norms_of(self, shares: Shares) -> Tensor:
        weights = torch.where(shares.counts > 0, shares.weights, 1.0)
        return shares.norms.sum(0) / weights.square() / self._scale**2

    def update(self, batch_size: int | None = None) -> None:
        """Count one optimizer step: after its last backward pass, before or after clipping and the optimizer's own step.

        `batch_size`, if given, must be the step's number of examples, over all processes.
        """
        shares = self._shares()
        assert self._big is not None
        row, examples, self._tokens = self._row(shares, *self._big)
        if batch_size is not None and batch_size != examples:
            raise ForescaleError(
                f"the step's backward passes had {examples} examples; batch_size says {batch_size}: call update() once an "
                "optimizer step, and count the examples of all processes."
            )
        self._averages.add(row)  # a step whose gradients overflowed has nan there, and is left out
        self._forget()
        self._counted = shares

    def _row(self, shares: Shares, whole: Tensor, shards: Tensor) -> tuple[Array, int, float]:
        """|G|² and tr(Σ) of each layer, (layers, 2), of the step on all processes; its examples, and tokens of one."""
        import numpy as np

        processes, layers = Processes(self._group), len(self._layers)
        big = (whole + processes.total(shards)).cpu().numpy()
        sums = processes.total(shares.sums()).cpu().numpy()
        norms, sampled = sums[:layers], sums[layers : 2 * layers]
        counts, squares, positions, examples, passes = (float(v) for v in sums[2 * layers :])
        row = np.full((layers, 2), np.nan)
        for i, layer in enumerate(self._layers):
            if norms[i] > 0 and big[i] == 0:
                raise ForescaleError(
                    f"{layer.name} took part, but the parameters that it had when the meter was made got no gradient: make the "
                    "meter after whatever replaces parameters, such as fully_shard, and call update() after backward()."
                )
            if layer.sampled and passes < 2:
                raise ForescaleError(
                    f"{layer.name} is sampled, which needs two backward passes or more an optimizer step; got one: accumulate."
                )
            if layer.active:
                small, weights = (sampled[i], 1 / passes) if layer.sampled else (norms[i], squares / counts**2)
                with np.errstate(invalid="ignore"):
                    row[i] = components(big[i], small / processes.size**2, weights)
        row[:, 1] *= examples  # V is tr(Σ) / B
        return row / self._scale**2, round(examples), (positions / examples) or float(self.length or 1)

    @property
    def noise_scale(self) -> NoiseScale:
        """The noise scale of all followed parameters; in norm mode with exact steps, the total that they predict."""
        if not self._partial:
            return self._scale_of([True] * len(self._layers), "all followed layers")
        if self._every is None:
            return self.norm_scale
        rows, weights = self._averages.rows(exact=True)
        total, part = (weights @ each for each in (rows.sum(1), rows[:, self._norms()].sum(1)))
        return predicted(self.norm_scale, self.norm_ratio, *(float(v) for v in total / part))

    @property
    def norm_scale(self) -> NoiseScale:
        """The noise scale of the norm layers alone."""
        return self._scale_of(self._norms(), "norm layers")

    @property
    def norm_ratio(self) -> Ratio:
        """Total over norm-layer noise scale, on the steps that measured every layer."""
        rows, weights = self._averages.rows(exact=True)
        if not len(rows) or not any(self._norms()):
            raise ForescaleError('a ratio needs exact steps and norm layers: give layers="norm" and exact_every.')
        (gradient, noise), (norm_gradient, norm_noise) = rows.sum(1).T, rows[:, self._norms()].sum(1).T
        value, low, high = ratio((noise, norm_gradient), (gradient, norm_noise), weights)
        return Ratio(value=value, low=low, high=high)

    def _norms(self) -> list[bool]:
        return [layer.kind == "norm" for layer in self._layers]

    def per_layer(self) -> dict[str, NoiseScale]:
        """The noise scale of each followed module's own parameters."""
        return {
            layer.name: self._scale_of([each is layer for each in self._layers], layer.name) for layer in self._layers
        }

    def per_type(self) -> dict[str, NoiseScale]:
        """The noise scale of all modules of a kind: linear, norm, embedding, experts."""
        kinds = dict.fromkeys(layer.kind for layer in self._layers)
        return {kind: self._scale_of([layer.kind == kind for layer in self._layers], kind) for kind in kinds}

    def _scale_of(self, chosen: list[bool], of: str) -> NoiseScale:
        import numpy as np

        partly = self._every is not None and any(c and not norm for c, norm in zip(chosen, self._norms(), strict=True))
        rows, weights = self._averages.rows(exact=partly)
        rows = rows[:, chosen].sum(1)
        measured = np.isfinite(rows).all(1)
        if not measured.any():
            raise ForescaleError(f"no step has measured {of}: there are none, or none was exact yet.")
        weights = weights[measured] / weights[measured].sum()
        return noise_scale(rows[measured], weights, self._tokens, of)

    def state_dict(self) -> dict[str, Any]:
        """The averages, for a checkpoint."""
        return {"layers": [layer.name for layer in self._layers], "averages": self._averages.state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict` of a meter on the same layers."""
        if (names := [layer.name for layer in self._layers]) != list(state["layers"]):
            raise ForescaleError(f"the state is of other layers: {state['layers']} instead of {names}.")
        self._averages.load(dict(state["averages"]))
        self._choose_exact()

    # The rest

    def _shares(self) -> Shares:
        shares = gather(self._layers, self._mean_over)
        assert self._big is not None
        got: Any = (self._big[0] + self._big[1]) > 0
        for layer, big in zip(self._layers, got.tolist(), strict=True):
            if big and layer.active and not any(layer.records):
                raise ForescaleError(
                    f"{layer.name} got a gradient that did not pass through its forward pass: its weight is used elsewhere; "
                    "leave it out by `layers`."
                )
        return shares

    def _forget(self) -> None:
        self._big, self._whole = None, False
        for layer in self._layers:
            layer.forget()
        self._choose_exact()

    def _choose_exact(self) -> None:
        if self._every is None:
            return
        exact = self._averages.steps % self._every == 0
        for layer in self._layers:
            layer.activate(exact or layer.kind == "norm")

    def close(self) -> None:
        """Leave the model as it was."""
        for hook in self._hooks:
            hook.remove()
        for layer in self._layers:
            layer.restore()

    def __enter__(self) -> Meter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
