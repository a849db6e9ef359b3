"""Time against compute against loss: which model, tokens and batch for a loss, a budget or a deadline."""

from forescale.plan.frontier._cluster import Cluster as Cluster
from forescale.plan.frontier._cluster import Device as Device
from forescale.plan.frontier._cluster import known_devices as known_devices
from forescale.plan.frontier._frontier import make_frontier as make_frontier
from forescale.plan.frontier._goal import Goal as Goal
from forescale.plan.frontier._search import Problem as Problem
from forescale.plan.frontier._values import Doubt as Doubt
from forescale.plan.frontier._values import Frontier as Frontier
from forescale.plan.frontier._values import OtherSize as OtherSize
from forescale.plan.frontier._values import Point as Point
from forescale.plan.frontier._world import World as World

__all__ = [
    "Cluster",
    "Device",
    "Doubt",
    "Frontier",
    "Goal",
    "OtherSize",
    "Point",
    "Problem",
    "World",
    "known_devices",
    "make_frontier",
]
