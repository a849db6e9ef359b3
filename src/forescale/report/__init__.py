"""One page about a fit: self-contained HTML that opens offline. It holds no logic; the numbers are the fit's own."""

from forescale.report._calibration import calibration_report as calibration_report
from forescale.report._fit import fit_report as fit_report
from forescale.report._loss import loss_report as loss_report

__all__ = ["calibration_report", "fit_report", "loss_report"]
