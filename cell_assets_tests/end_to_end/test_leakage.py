"""A plate that is in train and test by mistake: the report refuses, and the audit names the tracks."""

import json
from collections.abc import Callable

from cell_assets.automation.ingesting import ingest_plate
from cell_assets.settings import Settings
from cell_assets_tests.end_to_end.lab import (
    PlateFolder,
    assert_nothing_left,
    cell_assets,
    opened,
    run,
    small_run,
)


def test_one_plate_under_two_names(new_lab: Callable[[], Settings], two_fovs: PlateFolder) -> None:
    settings = new_lab()
    with opened(settings) as session:
        ingest_plate(session, two_fovs.request("E1", "P1"))
        ingest_plate(session, two_fovs.request("E1", "again"))
        outcome = run(session, small_run("E1"))
        (sentence,) = outcome.failed
        assert "the report of E1 claims a split by" in sentence
        assert "P1|A/1/000 and again|A/1/000 show the same pixels" in sentence
        assert session.ledger.artifacts("dynaclr_report") == ()
        assert_nothing_left(session)
    said = cell_assets(settings, "leakage", "E1", "--json")
    assert said.code == 1
    found = json.loads(said.out)
    assert found["leaks"] is True
    assert found["tracks_of_copies"] != []

    withdrawn = cell_assets(settings, "impact", "again", "--tombstone", "--why", "ingested twice")
    assert withdrawn.code == 0
    with opened(settings) as session:
        assert run(session, small_run("E1")).failed == ()
    healed = cell_assets(settings, "leakage", "E1")
    assert (healed.code, healed.out.splitlines()[-1]) == (0, "no leakage at the claimed level")
