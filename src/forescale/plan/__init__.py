"""Workload + laws -> recipe, with reasons, intervals, plateau and rivals; exports to trainers."""

from forescale.plan._allocate import allocate as allocate
from forescale.plan._plan import make_plan as make_plan
from forescale.plan._request import Request as Request
from forescale.plan._sizes import Sizes as Sizes
from forescale.plan._values import Alternative as Alternative
from forescale.plan._values import Axis as Axis
from forescale.plan._values import Band as Band
from forescale.plan._values import Caution as Caution
from forescale.plan._values import Cost as Cost
from forescale.plan._values import Layout as Layout
from forescale.plan._values import Plan as Plan
from forescale.plan._values import Plateau as Plateau
from forescale.plan._values import Terrain as Terrain

__all__ = [
    "Alternative",
    "Axis",
    "Band",
    "Caution",
    "Cost",
    "Layout",
    "Plan",
    "Plateau",
    "Request",
    "Sizes",
    "Terrain",
    "allocate",
    "make_plan",
]
