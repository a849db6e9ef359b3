"""Runs to laws: cells and their loss surfaces, scoring, fitting hyperparameter laws; loss laws in `forescale.fit.loss`."""

from forescale.fit._basin import interaction_and_ridge as interaction_and_ridge
from forescale.fit._basin import measured_landscape as measured_landscape
from forescale.fit._basin import slices as slices
from forescale.fit._cells import Cell as Cell
from forescale.fit._cells import Cells as Cells
from forescale.fit._cells import Gaps as Gaps
from forescale.fit._cells import Terrain as Terrain
from forescale.fit._cells import make_cells as make_cells
from forescale.fit._evidence import CellEvidence as CellEvidence
from forescale.fit._evidence import Coverage as Coverage
from forescale.fit._evidence import Estimate as Estimate
from forescale.fit._evidence import Evidence as Evidence
from forescale.fit._evidence import LawReading as LawReading
from forescale.fit._evidence import evidence as evidence
from forescale.fit._fit_law import fit_law as fit_law
from forescale.fit._fitted import Bootstrap as Bootstrap
from forescale.fit._fitted import Coefficient as Coefficient
from forescale.fit._fitted import FittedLaw as FittedLaw
from forescale.fit._provenance import data_hash as data_hash
from forescale.fit._score import score as score
from forescale.fit._scores import CellGap as CellGap
from forescale.fit._scores import Score as Score
from forescale.fit._scores import Scores as Scores
from forescale.fit._scores import Summary as Summary

__all__ = [
    "Bootstrap",
    "Cell",
    "CellEvidence",
    "CellGap",
    "Cells",
    "Coefficient",
    "Coverage",
    "Estimate",
    "Evidence",
    "FittedLaw",
    "Gaps",
    "LawReading",
    "Score",
    "Scores",
    "Summary",
    "Terrain",
    "data_hash",
    "evidence",
    "fit_law",
    "interaction_and_ridge",
    "make_cells",
    "measured_landscape",
    "score",
    "slices",
]
