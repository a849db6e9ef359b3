"""AdamW's averaging timescale, from what a run states and back."""

from __future__ import annotations

from forescale.quantities import positive


def timescale_of(batch_tokens: float, learning_rate: float, weight_decay: float, tokens: float) -> float:
    """B / (learning_rate × weight_decay × D): the share of the run that the final weights average over.

    `batch_tokens` B and `tokens` D in the same unit; `learning_rate` the peak one of the hidden matrices, after a
    parametrization's factors; `weight_decay` PyTorch's. Raises `ForescaleError` for numbers that are not above zero.
    Source: Power Lines (Bergsma et al. 2025, arXiv:2505.13738).
    """
    return _run(batch_tokens, learning_rate, tokens) / positive(weight_decay, "weight_decay")


def weight_decay_of(timescale: float, batch_tokens: float, learning_rate: float, tokens: float) -> float:
    """The weight decay that gives a run this timescale: the inverse of `timescale_of`, in the same units."""
    return _run(batch_tokens, learning_rate, tokens) / positive(timescale, "timescale")


def _run(batch_tokens: float, learning_rate: float, tokens: float) -> float:
    """Timescale × weight decay."""
    rate = positive(learning_rate, "learning_rate")
    return positive(batch_tokens, "batch_tokens") / (rate * positive(tokens, "tokens"))
