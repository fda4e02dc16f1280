"""A command of its own that holds the embedded database of a home folder until its standard input ends."""

import signal
import sys
from pathlib import Path

from cell_assets.database.embedded import open_database
from cell_assets.settings import Settings


def main(home: Path) -> None:
    """Print the base URL once the database is open."""
    # As in a terminal: whatever a shell runs in the background ignores SIGINT, and hands that on.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with open_database(Settings(home=home, database_url=None)) as addresses:
        print(addresses.base, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
