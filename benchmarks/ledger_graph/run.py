"""How fast the ledger walks a large history: `.venv/bin/python benchmarks/ledger_graph/run.py`

Fills an embedded PostgreSQL with a generated history, and AiiDA with a smaller one that the ledger gets as well.
Takes about 6 minutes and 3 GB of temporary disk, and needs no input.
"""

import json
import os
import platform
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import against_aiida
from generated_ledger import fill, ladder, number_of_an_experiment
from timing import REPEATS, milliseconds

from cell_assets.database.embedded import open_database
from cell_assets.ledger.ledger import Ledger
from cell_assets.settings import Settings
from cell_assets_tests.ledger.making import LEASE, output, receipt, run_draft

HERE = Path(__file__).parent
PLATES = 1000


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="ledger-graph-benchmark-", ignore_cleanup_errors=True) as name:
        home = Path(name)
        home.chmod(0o755)
        with (
            open_database(Settings(home=home, database_url=None)) as addresses,
            Ledger.open(addresses.ledger) as ledger,
        ):
            size = fill(addresses.ledger, PLATES)
            print(size, flush=True)
            report, plate = number_of_an_experiment(ledger)
            up, down = ledger.ancestors([report]), ledger.descendants([plate])
            result = {
                **size,
                "closure": {
                    "artifacts": len(up.artifact_ids) - 1,
                    "edges": len(up.edges),
                    "ms": milliseconds(lambda: ledger.ancestors([report])),
                },
                "impact": {
                    "artifacts": len(down.artifact_ids) - 1,
                    "edges": len(down.edges),
                    "ms": milliseconds(lambda: ledger.descendants([plate])),
                },
                "diamonds": {},
            }
            for rungs in (2500, 5000, 10000):
                top = ladder(ledger, rungs)
                assert len(ledger.ancestors([top]).artifact_ids) == 2 * rungs - 1
                result["diamonds"][rungs] = milliseconds(lambda top=top: ledger.ancestors([top]), 5)
            receipts = [receipt(one) for one in ledger.artifacts_with_ids(range(1, 1001)).values()]
            intents = iter(
                [
                    ledger.open_intent("table", "E", f"staging/{k}", "host:1", LEASE)
                    for k in range(REPEATS + 1)
                ]
            )
            contents = iter(range(REPEATS + 1))

            def record() -> None:
                ledger.commit(next(intents), run_draft(), output("table", "E", str(next(contents))), receipts)

            result["record_1000_inputs_ms"] = milliseconds(record)
        result["against_aiida"] = against_aiida.measure(home / "side by side")
    result |= {
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "load_1min": round(os.getloadavg()[0], 1),
    }
    (HERE / "result.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
