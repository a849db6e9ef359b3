"""The runs that `suggest` holds worth most, as jobs of real shapes."""

from __future__ import annotations

from collections.abc import Sequence

from forescale.errors import ForescaleError
from forescale.fit.calibrate import Suggestion
from forescale.sweep.design._common import LENGTH, SIZE, Common
from forescale.sweep.design._design import Design, make_design

DECIDED = (*SIZE, *LENGTH, "steps", "learning_rate", "batch_tokens", "batch_sequences")


def from_suggestion(
    common: Common, suggestion: Suggestion, *, seeds: Sequence[int] = (), name: str = "suggestion"
) -> Design:
    """A suggestion's runs, those first that help most; sizes are those of the nearest real shape.

    Raises `ForescaleError` where what a suggestion decides (sizes, tokens, learning rate, batch) is given in common.
    """
    if given := [each for each in DECIDED if each in common.values]:
        raise ForescaleError(
            f"a suggestion decides {' and '.join(given)} of every run, and a value is given: leave it out (the target's own "
            "size is target_params)."
        )
    names = ("params", "tokens", "learning_rate", "batch_tokens")
    settings = [{each: getattr(run, each) for each in names} for run in suggestion.runs]
    if not settings:
        raise ForescaleError("nothing within the budget lowers the target's expected gap: train the target.")
    before, after = suggestion.before.loss_gap, suggestion.after.loss_gap
    bought = f"the expected loss gap at the target falls from {before:.2%} to {after:.2%} once these runs are in"
    return make_design(common, settings, name=name, seeds=seeds, notes=(bought, *suggestion.notes))
