"""`follow_through` over a real ledger: which runs it asks for, in which order, and what it does not ask for.

Its requests are executed in this process, each run key once, as the daemon does.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import dagster as dg

from cell_assets.audit.difference import difference
from cell_assets.audit.explain import explain
from cell_assets.audit.impact import withdraw
from cell_assets.audit.subjects import find_subject
from cell_assets.automation.executing import RANGE_TAGS, Executor
from cell_assets.automation.following import FollowingCursor, follow_through
from cell_assets.automation.ingesting import ingest_plate
from cell_assets.automation.running import choose
from cell_assets.automation.session import Session
from cell_assets.ledger.records import ArrivalDraft, ArrivalState
from cell_assets.settings import Settings
from cell_assets_tests.end_to_end.lab import (
    PlateFolder,
    assert_dagster_agrees,
    damage,
    opened,
    small_run,
    tiny_plate,
)

FOVS = ("segmentation", "tracks", "patch_table")
MODEL = ("experiment_manifest", "dynaclr_checkpoint")
EMBEDDINGS, FEATURES, REPORT = ("dynaclr_embeddings",), ("single_cell_features",), ("dynaclr_report",)

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
        # As the code server sends them to the daemon.
        dg.serialize_value(result.run_requests or [])
        self.cursor = result.cursor
        self.skipped = result.skip_reason.skip_message if result.skip_reason else None
        new = [one for one in result.run_requests or () if one.run_key not in self.keys]
        self.keys.update(str(one.run_key) for one in new)
        return new

    def run(self, requests: list[dg.RunRequest]) -> list[str | None]:
        """What each of them failed with, if it did."""
        return [
            self.executor.materialise(
                [key.to_user_string() for key in request.asset_selection or ()],
                partition=request.partition_key,
                partition_range=_range(request),
            ).error
            for request in requests
        ]

    def follow(self) -> list[Asked]:
        """Tick and run until nothing more is asked for."""
        asked: list[Asked] = []
        while requests := self.tick():
            asked += map(in_short, requests)
            assert set(self.run(requests)) == {None}
        return asked


def _range(request: dg.RunRequest) -> tuple[str, str] | None:
    first, last = (request.tags.get(tag) for tag in RANGE_TAGS)
    return None if first is None or last is None else (first, last)


def in_short(request: dg.RunRequest) -> Asked:
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
    new_lab: Callable[[], Settings], two_fovs: PlateFolder, tmp_path: Path
) -> None:
    late = tiny_plate(tmp_path / "late", seed=2)
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
            (FEATURES, "P1"),
            (REPORT, "E1"),
        ]
        assert at.skipped == "E1: everything is current"
        assert at.tick() == []
        assert at.skipped == "nothing happened"

        (report,) = at.session.ledger.artifacts("dynaclr_report")
        first = at.session.ledger.numbers(experiment="E1")
        then = at.session.ledger.now()
        ingest(at.session, late, "E1", "P2")
        both = [(EMBEDDINGS, "E1|P1"), (EMBEDDINGS, "E1|P2")]
        late_fovs = (FOVS, "P2|A/1/000 to P2|A/2/000")
        assert at.follow() == [late_fovs, (MODEL, "E1"), *both, (FEATURES, "P2"), (REPORT, "E1")]
        assert len(at.session.ledger.artifacts("experiment_manifest")) == 2
        second = at.session.ledger.numbers(experiment="E1")
        assert not {number.id for number in first} & {number.id for number in second}
        assert at.session.ledger.numbers(experiment="E1", as_of=then) == first
        assert explain(at.session.ledger, first[0].id).number.artifact_id == report.id
        added = difference(at.session.ledger, first[0].id, second[0].id)
        assert "raw_acquisition P2" in added.only_b
        assert added.only_a == ()

        withdraw(at.session.ledger, find_subject(at.session.ledger, "P2"), "contaminated")
        assert at.follow() == [(MODEL, "E1"), (EMBEDDINGS, "E1|P1"), (REPORT, "E1")]
        third = at.session.ledger.numbers(experiment="E1")
        gone = difference(at.session.ledger, second[0].id, third[0].id)
        assert "raw_acquisition P2" in gone.only_a
        assert gone.only_b == ()
        assert [one.draft for one in third] == [one.draft for one in first]
        assert {one.withdrawn_because is None for one in third} == {True}
        assert_dagster_agrees(at.session)


def test_what_fails_waits_and_is_asked_for_again_when_it_was_repaired(
    new_lab: Callable[[], Settings], two_fovs: PlateFolder
) -> None:
    with daemon(new_lab()) as at:
        for experiment, plate in (("E0", "P0"), ("E1", "P1")):
            expect(at.session, experiment, plate)
            ingest(at.session, two_fovs, experiment, plate)
            choose(at.session, small_run(experiment))
        lost = at.session.store.read("raw_acquisition", "P0").path
        lost.rename(lost.with_name("away"))
        damage(at.session, "A/2/000")

        requests = at.tick()
        assert [*map(in_short, requests)] == [(FOVS, "P1|A/1/000 to P1|A/2/000")]
        (error,) = at.run(requests)
        assert error is not None
        assert "1 FOV failed: P1|A/2/000" in error
        assert at.tick() == []
        assert at.cursor is not None
        assert FollowingCursor.model_validate_json(at.cursor).waiting == ("E0",)

        ingest(at.session, two_fovs, "E1", "P1")
        lost.with_name("away").rename(lost)
        requests = at.tick()
        assert [*map(in_short, requests)] == [
            (FOVS, "P0|A/1/000 to P0|A/2/000"),
            (FOVS, "P1|A/2/000"),
        ]
        assert at.run(requests) == [None, None]
        assert {in_short(one) for one in at.tick()} == {(MODEL, "E0"), (MODEL, "E1")}
        assert len(at.session.ledger.attempts("segmentation", "P1|A/1/000")) == 1
        assert len(at.session.ledger.attempts("segmentation", "P1|A/2/000")) == 2


def test_an_experiment_waits_for_plates_on_their_way_and_for_runs_under_way(
    new_lab: Callable[[], Settings], two_fovs: PlateFolder
) -> None:
    with daemon(new_lab()) as at:
        ledger = at.session.ledger
        expect(at.session, "E1", "P1", "P2")
        ingest(at.session, two_fovs, "E1", "P1")
        choose(at.session, small_run("E1"))
        by_hand = dg.DagsterRun(
            job_name="launched_by_hand",
            status=dg.DagsterRunStatus.STARTED,
            tags={"dagster/partition": "P1|A/1/000"},
        )
        at.executor.instance.add_run(by_hand)
        assert at.tick() == []
        assert at.skipped == "E1: a run of P1 is under way"
        at.executor.instance.report_run_failed(by_hand)
        requests = at.tick()
        assert [*map(in_short, requests)] == [(FOVS, "P1|A/1/000 to P1|A/2/000")]
        assert at.run(requests) == [None]
        assert at.tick() == []
        assert at.skipped == "E1: P2 expected"
        coming = ArrivalDraft("/landing/P3", "0" * 64, "1", "E1", "P3", ArrivalState.ACCEPTED)
        ledger.record_arrivals([coming])
        expect(at.session, "E1", "P1", "P2", closed=True)
        assert at.tick() == []
        assert at.skipped == "E1: P3 accepted and not yet brought in"
        ledger.record_arrivals(
            [replace(coming, state=ArrivalState.QUARANTINED, reason="half of it is there")]
        )
        assert [*map(in_short, at.tick())] == [(MODEL, "E1")]
