"""PostgreSQL goes away in the middle of a command's runs, and comes back."""

from collections.abc import Callable

import pytest

from cell_assets.automation.ingesting import ingest_plate
from cell_assets.automation.session import open_session
from cell_assets.definitions import build_defs
from cell_assets.store.boundaries import Boundary
from cell_assets_tests.database.tcp_postgres import Ending
from cell_assets_tests.end_to_end.lab import PlateFolder, run, small_run
from cell_assets_tests.faults.faulty_lab import FaultyLab

_WHERE = (
    (Boundary.COMMIT, "tracks", Ending.IMMEDIATE),
    (Boundary.RENAME, "dynaclr_checkpoint", Ending.KILLED),
    (Boundary.EVENT, "dynaclr_report", Ending.IMMEDIATE),
)
"""Dagster is about to be told; the ledger is about to be; and the ledger is about to be told of Dagster."""


def test_runs_outlive_their_database_going_away_three_times(
    new_lab: Callable[[], FaultyLab], two_fovs: PlateFolder
) -> None:
    lab, went = new_lab(), []

    def take_away(at: Boundary, of: str, partition: str) -> None:
        for place in _WHERE:
            if place[:2] == (at, of) and place not in went:
                went.append(place)
                lab.take_away(3, place[2])

    with open_session(lab.settings, build_defs, take_away) as session:
        ingest_plate(session, two_fovs.request("E1", "P1"))
        assert run(session, small_run("E1")).failed == ()
    assert went == list(_WHERE)
    lab.assert_sound("E1")


@pytest.mark.slow
def test_a_command_outlives_three_minutes_without_its_database(
    new_lab: Callable[[], FaultyLab], two_fovs: PlateFolder
) -> None:
    lab = new_lab()
    with lab.opened() as session:
        ingest_plate(session, two_fovs.request("E1", "P1"))
    command = lab.begin(small_run("E1"))
    for boundary, asset, ending in _WHERE:
        with lab.halt.at(boundary, asset, command.ended):
            lab.take_away(60, ending)
        lab.wait_back()
    code, said = command.said()
    assert code == 0, said
    lab.assert_sound("E1")
