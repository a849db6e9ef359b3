"""Batch sizes that change along a run: schedules over tokens, from laws, published ramps or a measured noise scale."""

from forescale.noise.schedule._controller import BatchController as BatchController
from forescale.noise.schedule._controller import BatchState as BatchState
from forescale.noise.schedule._controller import Change as Change
from forescale.noise.schedule._controller import calibrated as calibrated
from forescale.noise.schedule._make import constant as constant
from forescale.noise.schedule._make import doubling as doubling
from forescale.noise.schedule._make import from_law as from_law
from forescale.noise.schedule._make import linear as linear
from forescale.noise.schedule._make import parse as parse
from forescale.noise.schedule._schedule import LR_RULES as LR_RULES
from forescale.noise.schedule._schedule import BatchSchedule as BatchSchedule
from forescale.noise.schedule._schedule import Stage as Stage
from forescale.noise.schedule._schedule import refuse_indivisible as refuse_indivisible
from forescale.noise.schedule._spec import batch_schedule as batch_schedule
from forescale.noise.schedule._steps import Step as Step
from forescale.noise.schedule._steps import Steps as Steps
from forescale.noise.schedule._trainers import levanter_list as levanter_list
from forescale.noise.schedule._trainers import megatron_text as megatron_text
from forescale.noise.schedule._trainers import olmo_core_lists as olmo_core_lists

__all__ = [
    "LR_RULES",
    "BatchController",
    "BatchSchedule",
    "BatchState",
    "Change",
    "Stage",
    "Step",
    "Steps",
    "batch_schedule",
    "calibrated",
    "constant",
    "doubling",
    "from_law",
    "levanter_list",
    "linear",
    "megatron_text",
    "olmo_core_lists",
    "parse",
    "refuse_indivisible",
]
