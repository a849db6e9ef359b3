"""Pictures of laws, plans, frontiers and scores; they hold no logic."""

from forescale.plots._frontier import frontier_figure as frontier_figure
from forescale.plots._frontier import frontier_map as frontier_map
from forescale.plots._frontier import frontier_trade as frontier_trade
from forescale.plots._plan import plan_map as plan_map
from forescale.plots._save import picture_bytes as picture_bytes
from forescale.plots._save import picture_format as picture_format
from forescale.plots._save import save as save
from forescale.plots._scores import score_chart as score_chart
from forescale.plots._surface import surface_map as surface_map
from forescale.plots._terminal import law_curve as law_curve

__all__ = [
    "frontier_figure",
    "frontier_map",
    "frontier_trade",
    "law_curve",
    "picture_bytes",
    "picture_format",
    "plan_map",
    "save",
    "score_chart",
    "surface_map",
]
