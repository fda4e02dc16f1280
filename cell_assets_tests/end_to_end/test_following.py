"""`follow_through` over a real ledger: which runs it asks for, in which order, and what it does not ask for.

Its requests are executed in this process, each run key once, as the daemon does.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import dagster as dg

from cell_assets.automation.executing import RANGE_TAGS, Executor
from cell_assets.automation.following import follow_through
from cell_assets.automation.ingesting import ingest_plate
from cell_assets.automation.running import choose
from cell_assets.automation.session import Session
from cell_assets.settings import Settings
from cell_assets_tests.end_to_end.lab import PlateFolder, opened, small_run

FOVS = ("segmentation", "tracks", "patch_table")
MODEL = ("experiment_manifest", "dynaclr_checkpoint")
EMBEDDINGS, REPORT = ("dynaclr_embeddings",), ("dynaclr_report",)

Asked = tuple[tuple[str, ...], str]
"""Assets, and the partition or `first to last`."""


@dataclass
class Daemon:
    """Ticks the sensor and executes what it asks for, unless that run key was asked for before."""

    session: Session
    executor: Executor
    cursor: str | None = None
    keys: set[str] = field(default_factory=set)
    skipped: str | None = None

    def tick(self) -> list[dg.RunRequest]:
        """New requests of one tick."""
        context = dg.build_sensor_context(instance=self.executor.instance, cursor=self.cursor)
        result = follow_through(context, store=self.session.store)
        assert isinstance(result, dg.SensorResult)
        self.cursor = result.cursor
        self.skipped = result.skip_reason.skip_message if result.skip_reason else None
        new = [one for one in result.run_requests or () if one.run_key not in self.keys]
        self.keys.update(str(one.run_key) for one in new)
        return new

    def run(self, requests: list[dg.RunRequest]) -> list[bool]:
        return [
            self.executor.materialise(
                [key.to_user_string() for key in request.asset_selection or ()],
                partition=request.partition_key,
                partition_range=_range(request),
            ).succeeded
            for request in requests
        ]

    def follow(self) -> list[Asked]:
        """Tick and run until nothing more is asked for."""
        asked: list[Asked] = []
        while requests := self.tick():
            asked += map(_asked, requests)
            assert all(self.run(requests))
        return asked


def _range(request: dg.RunRequest) -> tuple[str, str] | None:
    first, last = (request.tags.get(tag) for tag in RANGE_TAGS)
    return None if first is None or last is None else (first, last)


def _asked(request: dg.RunRequest) -> Asked:
    where = request.partition_key or " to ".join(_range(request) or ())
    return tuple(key.to_user_string() for key in request.asset_selection or ()), where


@contextmanager
def daemon(settings: Settings) -> Iterator[Daemon]:
    with opened(settings) as session, session.executor() as executor:
        yield Daemon(session, executor)


def ingest(session: Session, folder: PlateFolder, experiment: str, plate: str) -> None:
    ingest_plate(session, folder.request(experiment, plate))


def expect(session: Session, experiment: str, *plates: str, closed: bool = False) -> None:
    session.ledger.record_expected_plates(experiment, plates, closed, f"{plates}{closed}")


def test_a_complete_experiment_is_followed_to_its_report_and_a_late_plate_makes_new_versions(
    new_lab: Callable[[], Settings], two_fovs: PlateFolder
) -> None:
    with daemon(new_lab()) as at:
        expect(at.session, "E1", "P1")
        assert at.tick() == []
        assert at.skipped == "E1: it has no plate that stands"
        ingest(at.session, two_fovs, "E1", "P1")
        choose(at.session, small_run("E1"))
        assert at.follow() == [
            (FOVS, "P1|A/1/000 to P1|A/2/000"),
            (MODEL, "E1"),
            (EMBEDDINGS, "E1|P1"),
            (REPORT, "E1"),
        ]
        assert at.skipped == "E1: everything is current"
        assert at.tick() == []
        assert at.skipped == "nothing happened"
