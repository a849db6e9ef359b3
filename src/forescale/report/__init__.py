"""One page about a fit or a tuning: self-contained HTML that opens offline. It holds no logic; the numbers are their own."""

from forescale.report._calibration import calibration_report as calibration_report
from forescale.report._fit import fit_report as fit_report
from forescale.report._loss import loss_report as loss_report
from forescale.report._tune import tune_report as tune_report

__all__ = ["calibration_report", "fit_report", "loss_report", "tune_report"]
