"""What may be spent: a share of the target's compute, FLOPs, or time on this machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from forescale.errors import ForescaleError
from forescale.quantities import humanize_duration, parse_duration, parse_quantity, positive

UNITS = (("minutes", "m"), ("minute", "m"), ("mins", "m"), ("min", "m"), ("hours", "h"), ("hour", "h"), ("days", "d"))
LARGEST_SHARE = 10.0


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What the proxies may cost together: one of the three is given."""

    share: float | None = None  # of the target's compute
    compute: float | None = None  # FLOPs
    seconds: float | None = None  # of wall time

    def __post_init__(self) -> None:
        given = {name: value for name, value in vars(self).items() if value is not None}
        if len(given) != 1:
            raise ForescaleError(
                f"a budget is a share, FLOPs or seconds, one of them; got {', '.join(given) or 'none'}."
            )
        for name, value in given.items():
            positive(value, f"the budget's {name}")
        if self.share is not None and self.share > LARGEST_SHARE:
            raise ForescaleError(
                f"a budget of {self.share:.0%} of the target is more than {LARGEST_SHARE:g} targets: sweep the target itself."
            )

    def flops(self, target: float, speed: Callable[[], float]) -> float:
        """In FLOPs, for a target of so many, on a machine that makes `speed()` a second."""
        if self.share is not None:
            return self.share * target
        return self.compute if self.compute is not None else (self.seconds or 0.0) * speed()

    def text(self) -> str:
        """As a person would write it."""
        if self.share is not None:
            return (
                f"{self.share:.3g} of the target's compute"
                if self.share > 1
                else f"{self.share:.3%} of the target's compute"
            )
        return f"{self.compute:.3g} FLOPs" if self.compute is not None else humanize_duration(self.seconds or 0.0)


def read_budget(text: str) -> Budget:
    """`10%`, `30min`, `2h` or FLOPs such as `1e17`."""
    written = text.strip()
    if written.endswith("%"):
        return Budget(share=parse_quantity(written[:-1], "the budget") / 100)
    for word, unit in UNITS:
        if written.lower().endswith(word):
            return Budget(seconds=parse_duration(written[: -len(word)].strip() + unit, "the budget"))
    if written[-1:].lower() in ("s", "h", "d", "w") or (written[-1:] == "m" and written[:-1].isdigit()):
        return Budget(seconds=parse_duration(written, "the budget"))
    return Budget(compute=parse_quantity(written, "the budget"))
