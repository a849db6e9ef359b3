"""Runs to loss laws: variable projection, robust and batched; iso-FLOP optima."""

from forescale.fit.loss._budgets import Shelf as Shelf
from forescale.fit.loss._evidence import LossEvidence as LossEvidence
from forescale.fit.loss._evidence import loss_evidence as loss_evidence
from forescale.fit.loss._fit import Extrapolation as Extrapolation
from forescale.fit.loss._fit import LossFit as LossFit
from forescale.fit.loss._fit import Optimum as Optimum
from forescale.fit.loss._fit import Parameter as Parameter
from forescale.fit.loss._isoflop import fit_isoflops as fit_isoflops
from forescale.fit.loss._isoflop_values import Allocation as Allocation
from forescale.fit.loss._isoflop_values import Budget as Budget
from forescale.fit.loss._isoflop_values import IsoFlops as IsoFlops
from forescale.fit.loss._isoflop_values import Powers as Powers
from forescale.fit.loss._law import fit_loss_law as fit_loss_law

__all__ = [
    "Allocation",
    "Budget",
    "Extrapolation",
    "IsoFlops",
    "LossEvidence",
    "LossFit",
    "Optimum",
    "Parameter",
    "Powers",
    "Shelf",
    "fit_isoflops",
    "fit_loss_law",
    "loss_evidence",
]
