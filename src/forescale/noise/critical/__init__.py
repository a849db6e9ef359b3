"""The critical batch, measured: by branches of one run, or from runs of several batches to one loss."""

from forescale.noise.critical._branches import Branch as Branch
from forescale.noise.critical._branches import Branched as Branched
from forescale.noise.critical._branches import branched as branched
from forescale.noise.critical._branches import branched_runs as branched_runs
from forescale.noise.critical._branches import doublings as doublings
from forescale.noise.critical._branches import ema as ema
from forescale.noise.critical._branches import ema_noise as ema_noise
from forescale.noise.critical._branches import largest_factor as largest_factor
from forescale.noise.critical._critical import CriticalBatch as CriticalBatch
from forescale.noise.critical._critical import critical_batch as critical_batch
from forescale.noise.critical._design import BranchRun as BranchRun
from forescale.noise.critical._design import branch_csv as branch_csv
from forescale.noise.critical._design import branch_design as branch_design
from forescale.noise.critical._hyperbola import Hyperbola as Hyperbola
from forescale.noise.critical._hyperbola import Point as Point
from forescale.noise.critical._hyperbola import fit_hyperbola as fit_hyperbola
from forescale.noise.critical._loss_curves import LossCurve as LossCurve
from forescale.noise.critical._loss_curves import fit_curves as fit_curves
from forescale.noise.critical._loss_curves import points_at as points_at

__all__ = [
    "Branch",
    "BranchRun",
    "Branched",
    "CriticalBatch",
    "Hyperbola",
    "LossCurve",
    "Point",
    "branch_csv",
    "branch_design",
    "branched",
    "branched_runs",
    "critical_batch",
    "doublings",
    "ema",
    "ema_noise",
    "fit_curves",
    "fit_hyperbola",
    "largest_factor",
    "points_at",
]
