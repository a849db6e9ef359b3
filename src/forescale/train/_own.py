"""What a schedule decides itself: what its text states, and what its kind has no option for."""

from __future__ import annotations

from forescale.schedules import options_of

FIELDS = {"warmup": "warmup_steps", "final": "final_lr_ratio"}
"""An option of schedules -> the field of a config or recipe that says the same."""


def owned(text: str) -> dict[str, float | None]:
    """Of warmup and final those that the text states, with their value, or that its schedule does not have: None."""
    name, _, rest = text.partition(":")
    known = options_of(name)
    stated = {key.strip(): value for key, _, value in (part.partition("=") for part in rest.split(","))}
    return {option: _number(stated.get(option)) for option in FIELDS if option in stated or option not in known}


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None  # the schedule refuses it
