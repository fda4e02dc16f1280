"""A lab on a PostgreSQL of its own that a test takes away, and what must hold of the lab when it is back."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from cell_assets.audit.subjects import find_subject
from cell_assets.audit.verify import verify
from cell_assets.automation.running import RunRequest
from cell_assets.automation.session import Session
from cell_assets.settings import Settings
from cell_assets_tests.database.tcp_postgres import Ending, TcpPostgres
from cell_assets_tests.end_to_end.lab import (
    CHECKOUT,
    assert_dagster_agrees,
    assert_nothing_left,
    assert_published_is_whole,
    opened,
)
from cell_assets_tests.faults.halting import Halt


@dataclass(frozen=True)
class Command:
    """A `cell-assets run` in a process of its own."""

    process: "subprocess.Popen[str]"

    def ended(self) -> str | None:
        """What it said, once it has ended; None before."""
        return None if self.process.poll() is None else self.said()[1]

    def said(self) -> tuple[int, str]:
        """Its exit code and the end of what it said, when it has ended."""
        out, complained = self.process.communicate(timeout=500)
        return self.process.returncode, (out + complained)[-4000:]


@dataclass(frozen=True)
class FaultyLab:
    """A home, and databases on a server that comes and goes."""

    settings: Settings
    server: TcpPostgres

    @property
    def halt(self) -> Halt:
        return Halt(self.settings.home)

    def environment(self) -> dict[str, str]:
        """Of a process of this lab."""
        mine = {key: value for key, value in os.environ.items() if not key.startswith("CELL_ASSETS_")}
        return {
            **mine,
            "CELL_ASSETS_HOME": str(self.settings.home),
            "CELL_ASSETS_DATABASE_URL": str(self.settings.database_url),
            "CELL_ASSETS_WORKERS": "1",
        }

    def begin(self, request: RunRequest) -> Command:
        """Start `cell-assets run`."""
        return Command(
            subprocess.Popen(
                [sys.executable, "-m", "cell_assets_tests.faults.command", request.model_dump_json()],
                cwd=CHECKOUT,
                env=self.environment(),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )

    def take_away(self, away_s: float, ending: Ending) -> None:
        """Stop the server, and bring it back after so many seconds, whatever goes on meanwhile."""
        self.server.stop(ending)
        threading.Timer(away_s, self.server.start).start()

    def wait_back(self) -> None:
        """Return when the server is back."""
        while self.server.process is None:
            time.sleep(0.05)

    @contextmanager
    def opened(self) -> Iterator[Session]:
        with opened(self.settings) as session:
            yield session

    def assert_sound(self, *experiments: str) -> None:
        """Store, ledger, Dagster and MLflow tell one story, nothing is left over, and every number is verified."""
        with self.opened() as session:
            with session.executor():
                pass  # as the next command would, shows what was committed and not shown
            assert session.reconcile(mend=False).left == ()
            assert_published_is_whole(session)
            assert_nothing_left(session)
            assert_dagster_agrees(session)
            began = session.ledger.now()
            for experiment in experiments:
                numbers = session.ledger.numbers(experiment=experiment)
                assert numbers, experiment
                for number in numbers:
                    subject = find_subject(session.ledger, str(number.id))
                    assert verify(session.store, subject, since=began).is_verified, (experiment, number)
