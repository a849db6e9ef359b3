"""The published prior, corrected by a handful of a lab's own runs: laws that are right on your own recipe."""

from forescale.fit.calibrate._calibrate import calibrate as calibrate
from forescale.fit.calibrate._calibrated import Calibration as Calibration
from forescale.fit.calibrate._calibrated import Estimate as Estimate
from forescale.fit.calibrate._calibrated import Foresight as Foresight
from forescale.fit.calibrate._calibrated import Learnt as Learnt
from forescale.fit.calibrate._choice import RateCurve as RateCurve
from forescale.fit.calibrate._prior import Lab as Lab
from forescale.fit.calibrate._prior import Prior as Prior
from forescale.fit.calibrate._prior import published_prior as published_prior
from forescale.fit.calibrate._proxies import SuggestedRun as SuggestedRun
from forescale.fit.calibrate._shown import calibration_evidence as calibration_evidence
from forescale.fit.calibrate._shown import expected_gaps as expected_gaps
from forescale.fit.calibrate._suggest import SuggestedCell as SuggestedCell
from forescale.fit.calibrate._suggest import Suggestion as Suggestion
from forescale.fit.calibrate._suggest import suggest as suggest

__all__ = [
    "Calibration",
    "Estimate",
    "Foresight",
    "Lab",
    "Learnt",
    "Prior",
    "RateCurve",
    "SuggestedCell",
    "SuggestedRun",
    "Suggestion",
    "calibrate",
    "calibration_evidence",
    "expected_gaps",
    "published_prior",
    "suggest",
]
