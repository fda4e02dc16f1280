"""Listing numbers loads nothing heavy."""

import subprocess
import sys

_ASK = """
import sys
import cell_assets.reporting.tables
print([name for name in ("pandas", "scipy", "zarr") if name in sys.modules])
"""


def test_tables_of_numbers_need_no_science() -> None:
    done = subprocess.run([sys.executable, "-c", _ASK], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
