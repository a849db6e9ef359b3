"""One surface of loss over parameters, tokens, learning rate and batch: fitted, used, scored, saved."""

from forescale.fit.surface._edge import Edge as Edge
from forescale.fit.surface._file import load_surface as load_surface
from forescale.fit.surface._file import save_surface as save_surface
from forescale.fit.surface._make import fit_surface as fit_surface
from forescale.fit.surface._score import CellScore as CellScore
from forescale.fit.surface._score import Fit as Fit
from forescale.fit.surface._score import SurfaceScore as SurfaceScore
from forescale.fit.surface._score import score_surface as score_surface
from forescale.fit.surface._surface import Best as Best
from forescale.fit.surface._surface import ExpectedGap as ExpectedGap
from forescale.fit.surface._surface import Plateau as Plateau
from forescale.fit.surface._surface import Surface as Surface
from forescale.fit.surface._sweep import Reference as Reference

__all__ = [
    "Best",
    "CellScore",
    "Edge",
    "ExpectedGap",
    "Fit",
    "Plateau",
    "Reference",
    "Surface",
    "SurfaceScore",
    "fit_surface",
    "load_surface",
    "save_surface",
    "score_surface",
]
