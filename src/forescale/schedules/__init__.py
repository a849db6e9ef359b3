"""Learning rate schedules: pure functions from progress in [0, 1] to a factor on the peak, and what they average.

Any function of yours from a float to a float, finite and at least 0, is a schedule too (the type `Schedule`).

A step of a run of S steps covers the progress from i / S to (i + 1) / S and uses the larger factor of its two ends
(`factor_at`). So the first step learns although the schedule starts at 0, and so does the last although it ends at 0:
with W = warmup × S whole, linear-to-zero is (i + 1) / W while i < W, then (S - i) / (S - W). Where W is not whole no
step ends at the peak, and the largest factor lies a little below 1; where a schedule jumps, the step that contains the
jump uses the value before it.
"""

from forescale.schedules._adapters import lr_lambda as lr_lambda
from forescale.schedules._adapters import optax_schedule as optax_schedule
from forescale.schedules._averaging import Averaging as Averaging
from forescale.schedules._averaging import averaging as averaging
from forescale.schedules._averaging import initial_weight as initial_weight
from forescale.schedules._averaging import token_progress as token_progress
from forescale.schedules._averaging import update_weights as update_weights
from forescale.schedules._check import Schedule as Schedule
from forescale.schedules._decays import constant as constant
from forescale.schedules._decays import cosine as cosine
from forescale.schedules._decays import inverse_sqrt as inverse_sqrt
from forescale.schedules._decays import linear as linear
from forescale.schedules._decays import linear_to_zero as linear_to_zero
from forescale.schedules._decays import tenth as tenth
from forescale.schedules._decays import wsd as wsd
from forescale.schedules._names import SCHEDULES as SCHEDULES
from forescale.schedules._names import by_name as by_name
from forescale.schedules._names import options_of as options_of
from forescale.schedules._pieces import cyclic as cyclic
from forescale.schedules._pieces import points as points
from forescale.schedules._pieces import step as step
from forescale.schedules._steps import factor_at as factor_at
from forescale.schedules._steps import factors as factors
from forescale.schedules._timescale import timescale_of as timescale_of
from forescale.schedules._timescale import weight_decay_of as weight_decay_of

__all__ = [
    "SCHEDULES",
    "Averaging",
    "averaging",
    "by_name",
    "constant",
    "cosine",
    "cyclic",
    "factor_at",
    "factors",
    "initial_weight",
    "inverse_sqrt",
    "linear",
    "linear_to_zero",
    "lr_lambda",
    "optax_schedule",
    "options_of",
    "points",
    "step",
    "tenth",
    "timescale_of",
    "token_progress",
    "update_weights",
    "weight_decay_of",
    "wsd",
]
