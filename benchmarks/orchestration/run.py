"""Measure what orchestration costs: `.venv/bin/python benchmarks/orchestration/run.py [--profile FILE]`

Simulates its input. Imports nothing at the top, as every worker imports the main module anew, and that of
`cell-assets` is small too.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from measuring import main

    main()
