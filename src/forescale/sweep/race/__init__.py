"""Racing: a run that its loss curve shows to be dominated ends early, and one that has diverged ends at once.

What decides is where a run's curve will end, with an interval, and not where it is now: while the learning rate is high a
run of a high rate looks worse than it is, and one of a low rate better.
"""

from forescale.sweep.race._curve import Curve as Curve
from forescale.sweep.race._curve import curve_of as curve_of
from forescale.sweep.race._decide import Race as Race
from forescale.sweep.race._decide import decide as decide
from forescale.sweep.race._decide import diverged as diverged
from forescale.sweep.race._forecast import End as End
from forescale.sweep.race._forecast import Forecast as Forecast
from forescale.sweep.race._forecast import forecast as forecast
from forescale.sweep.race._forecast import forecast_end as forecast_end
from forescale.sweep.race._racing import Racing as Racing
from forescale.sweep.race._racing import Report as Report
from forescale.sweep.race._racing import report as report

__all__ = [
    "Curve",
    "End",
    "Forecast",
    "Race",
    "Racing",
    "Report",
    "curve_of",
    "decide",
    "diverged",
    "forecast",
    "forecast_end",
    "report",
]
