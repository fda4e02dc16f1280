"""`cell-assets run` of one request in a process of its own, which halts where a test says.

`python -m cell_assets_tests.faults.command REQUEST_AS_JSON`
"""

import sys

from cell_assets.automation.running import RunRequest, choose, run_experiment
from cell_assets.automation.session import open_session
from cell_assets.definitions import build_defs
from cell_assets.errors import CellAssetsError
from cell_assets.settings import Settings
from cell_assets_tests.faults.halting import halting


def execute(settings: Settings, request: str) -> int:
    """Run; returns the exit code of the command."""
    wanted = RunRequest.model_validate_json(request)
    try:
        with open_session(settings, build_defs, halting(settings.home)) as session:
            choose(session, wanted)
            outcome = run_experiment(session, wanted)
    except CellAssetsError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    print(outcome.text())
    return 1 if outcome.failed else 0


if __name__ == "__main__":
    sys.exit(execute(Settings(), *sys.argv[1:]))
