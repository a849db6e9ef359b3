"""What is trained: parameter and FLOP counts of dense, mixture-of-experts and sparse models."""

from forescale.workload._parts import Part as Part
from forescale.workload._shape import Experts as Experts
from forescale.workload._shape import LatentAttention as LatentAttention
from forescale.workload._shape import Shape as Shape
from forescale.workload._workload import Workload as Workload

__all__ = ["Experts", "LatentAttention", "Part", "Shape", "Workload"]
