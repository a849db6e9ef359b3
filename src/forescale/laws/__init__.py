"""Laws as data: published and fitted scaling laws with constants, conditions, measured ranges and evidence."""

from forescale.laws._formula import Formula as Formula
from forescale.laws._landscape import Landscape as Landscape
from forescale.laws._landscape import Slice as Slice
from forescale.laws._law import Law as Law
from forescale.laws._law import Source as Source
from forescale.laws._law import TransferError as TransferError
from forescale.laws._load import law as law
from forescale.laws._load import names as names
from forescale.laws._variables import variables as variables

__all__ = ["Formula", "Landscape", "Law", "Slice", "Source", "TransferError", "law", "names", "variables"]
