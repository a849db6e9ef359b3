"""What the examples of one optimizer step have in its gradient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from forescale.errors import ForescaleError
from forescale.noise._kinds._records import CALLS, COUNT
from forescale.noise._layers import Layer


@dataclass(frozen=True, kw_only=True, eq=False)
class Shares:
    """Squared norms of the examples' shares of the step's gradient, and how much of the loss is theirs."""

    norms: Tensor  # (layers, examples); 0 where a layer is sampled or was not measured
    sampled: Tensor  # (layers,) sum over the backward passes; 0 where a layer has examples
    positions: Tensor | None  # (examples,) positions that have a loss; None where no head was seen
    counts: Tensor  # (examples,) what each counts in the mean that the loss is
    passes: int

    @property
    def weights(self) -> Tensor:
        """(examples,), with the sum 1."""
        return self.counts / self.counts.sum()

    def sums(self) -> Tensor:
        """What processes add up: norms and sampled norms of the layers, counts, their squares, examples, passes, positions."""
        positions = self.counts.new_zeros(()) if self.positions is None else self.positions.sum()
        last = [self.counts.sum(), self.counts.square().sum(), positions]
        whole = [float(len(self.counts)), float(self.passes)]
        return torch.cat((self.norms.sum(1), self.sampled, torch.stack(last), self.counts.new_tensor(whole)))


def gather(layers: Sequence[Layer], mean_over: str) -> Shares:
    """The shares that the layers' records make. Raises `ForescaleError` where they do not fit together."""
    slots = [
        (i, records) for i, layer in enumerate(layers) if not layer.sampled for records in layer.records if records
    ]
    passes = max((len(r) for layer in layers for r in layer.records), default=0)
    if not passes:
        raise ForescaleError(
            "a noise meter has seen no backward pass since its last update(): call the model, then loss.backward() "
            "(torch.autograd.grad leaves no trace)."
        )
    for layer in layers:
        if any(len(records) not in (0, passes) for records in layer.records):
            raise ForescaleError(
                f"{layer.name} took part in some of the step's {passes} backward passes only: update() once an optimizer "
                "step, or leave it out by `layers`."
            )
    sampled = torch.stack([_sampled(layer) for layer in layers])
    if not slots:
        raise ForescaleError(
            "only sampled layers were seen: a noise scale needs one layer at least that tells examples apart."
        )
    stacked = torch.stack([torch.stack(records) for _, records in slots]).double()  # (slots, passes, entries)
    sizes = _sizes(stacked, [layers[i].name for i, _ in slots])
    found = torch.cat([stacked[:, m, :n] for m, n in enumerate(sizes)], 1)
    at = torch.tensor([i for i, _ in slots], device=found.device)
    norms = found.new_zeros(len(layers), found.shape[1]).index_add_(0, at, found)
    positions = next((_positions(layer.counts, sizes) for layer in layers if layer.counts), None)
    uneven = positions is not None and mean_over == "tokens"
    return Shares(
        norms=norms, sampled=sampled.to(norms), positions=positions,
        counts=positions if positions is not None and uneven else norms.new_ones(norms.shape[1]), passes=passes,
    )  # fmt: skip


def _sampled(layer: Layer) -> Tensor:
    if not layer.sampled or not any(layer.records):
        return torch.zeros(())
    return torch.stack([torch.stack(records).sum() for records in layer.records if records]).sum().cpu()


def _positions(records: Sequence[Tensor], sizes: Sequence[int]) -> Tensor:
    return torch.cat([record[:n] for record, n in zip(records, sizes, strict=True)]).double()


def _sizes(stacked: Tensor, names: Sequence[str]) -> list[int]:
    """The examples of each backward pass, on which all slots must agree."""
    calls, counts = stacked[..., CALLS].cpu(), stacked[..., COUNT].cpu()
    if (twice := (calls > 1).any(1)).any():
        name = names[int(twice.nonzero()[0])]
        raise ForescaleError(
            f"{name} was called more than once in a forward pass, and the squared norm of a sum has cross terms that a "
            "noise meter does not know: leave it out by `layers`."
        )
    # The count of a slot is the number of examples times the number of calls, which is 1.
    if (counts != counts[:1]).any():
        i = int((counts != counts[:1]).any(1).nonzero()[0])
        raise ForescaleError(
            f"{names[0]} saw {_whole(counts[0])} examples a backward pass and {names[i]} {_whole(counts[i])}: "
            "a noise meter needs the batch dimension first everywhere; leave the odd one out by `layers`."
        )
    return _whole(counts[0])


def _whole(counts: Tensor) -> list[int]:
    return [int(n) for n in counts]
