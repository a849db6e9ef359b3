"""The table of measured runs: one row per finished training run, one set of column names."""

from forescale.runs._columns import parse_columns as parse_columns
from forescale.runs._constants import parse_constants as parse_constants
from forescale.runs._final_loss import final_loss as final_loss
from forescale.runs._read import read_runs as read_runs
from forescale.runs._runs import Runs as Runs

__all__ = ["Runs", "final_loss", "parse_columns", "parse_constants", "read_runs"]
