"""Laws as data: published and fitted scaling laws with constants, conditions, measured ranges and evidence."""

from forescale.laws._conventions import conventions as conventions
from forescale.laws._formula import SYMBOLS as SYMBOLS
from forescale.laws._formula import Z80 as Z80
from forescale.laws._formula import Formula as Formula
from forescale.laws._landscape import Landscape as Landscape
from forescale.laws._landscape import Slice as Slice
from forescale.laws._law import Law as Law
from forescale.laws._law import Source as Source
from forescale.laws._law import TransferError as TransferError
from forescale.laws._law import spell as spell
from forescale.laws._load import law as law
from forescale.laws._load import names as names
from forescale.laws._save import law_toml as law_toml
from forescale.laws._save import save_law as save_law
from forescale.laws._variables import variables as variables

__all__ = [
    "SYMBOLS",
    "Z80",
    "Formula",
    "Landscape",
    "Law",
    "Slice",
    "Source",
    "TransferError",
    "conventions",
    "law",
    "law_toml",
    "names",
    "save_law",
    "spell",
    "variables",
]
