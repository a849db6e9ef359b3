"""Runs to laws: cells and their loss surfaces, scoring, loss laws."""

from forescale.fit._cells import Cell as Cell
from forescale.fit._cells import Cells as Cells
from forescale.fit._cells import Gaps as Gaps
from forescale.fit._cells import make_cells as make_cells
from forescale.fit._isoflop import IsoFlopOptimum as IsoFlopOptimum
from forescale.fit._isoflop import IsoFlops as IsoFlops
from forescale.fit._isoflop import fit_isoflops as fit_isoflops
from forescale.fit._loss_fit import Extrapolation as Extrapolation
from forescale.fit._loss_fit import LossFit as LossFit
from forescale.fit._loss_fit import Optimum as Optimum
from forescale.fit._loss_fit import Parameter as Parameter
from forescale.fit._loss_law import fit_loss_law as fit_loss_law
from forescale.fit._save import save_law as save_law
from forescale.fit._score import score as score
from forescale.fit._scores import CellGap as CellGap
from forescale.fit._scores import Score as Score
from forescale.fit._scores import Scores as Scores
from forescale.fit._scores import Summary as Summary

__all__ = [
    "Cell",
    "CellGap",
    "Cells",
    "Extrapolation",
    "Gaps",
    "IsoFlopOptimum",
    "IsoFlops",
    "LossFit",
    "Optimum",
    "Parameter",
    "Score",
    "Scores",
    "Summary",
    "fit_isoflops",
    "fit_loss_law",
    "make_cells",
    "save_law",
    "score",
]
