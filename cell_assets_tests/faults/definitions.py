"""The definitions, in a code location whose runs halt where a test says."""

from cell_assets.definitions import build_defs
from cell_assets.settings import Settings
from cell_assets_tests.faults.halting import halting

defs = build_defs(Settings(), halting(Settings().home))
