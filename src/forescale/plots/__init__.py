"""Pictures of laws, plans and runs; they hold no logic."""

from forescale.plots._terminal import law_curve as law_curve

__all__ = ["law_curve"]
