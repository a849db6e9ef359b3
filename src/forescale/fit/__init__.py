"""Runs to laws: cells and their loss surfaces, scoring."""

from forescale.fit._cells import Cell as Cell
from forescale.fit._cells import Cells as Cells
from forescale.fit._cells import Gaps as Gaps
from forescale.fit._cells import make_cells as make_cells
from forescale.fit._score import score as score
from forescale.fit._scores import CellGap as CellGap
from forescale.fit._scores import Score as Score
from forescale.fit._scores import Scores as Scores
from forescale.fit._scores import Summary as Summary

__all__ = ["Cell", "CellGap", "Cells", "Gaps", "Score", "Scores", "Summary", "make_cells", "score"]
