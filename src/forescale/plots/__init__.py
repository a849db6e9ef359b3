"""Pictures of laws, plans, scores and iso-FLOP sets; they hold no logic."""

from forescale.plots._isoflop import isoflop_chart as isoflop_chart
from forescale.plots._plan import plan_map as plan_map
from forescale.plots._save import picture_bytes as picture_bytes
from forescale.plots._save import picture_format as picture_format
from forescale.plots._save import save as save
from forescale.plots._scores import score_chart as score_chart
from forescale.plots._terminal import law_curve as law_curve

__all__ = ["isoflop_chart", "law_curve", "picture_bytes", "picture_format", "plan_map", "save", "score_chart"]
