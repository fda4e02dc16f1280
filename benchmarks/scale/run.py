"""Pages, commands and databases of a year of plates: `.venv/bin/python benchmarks/scale/run.py [--plates 100]`

Simulates its input. Imports nothing at the top, as every worker imports the main module anew.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from measuring import main

    main()
