"""`follow_through` where bytes were let go of: it asks for them once where something needs them, and never twice."""

from collections.abc import Callable

import pytest

from cell_assets.automation.running import choose
from cell_assets.ledger.records import ArtifactState
from cell_assets.settings import Settings
from cell_assets_tests.end_to_end.lab import PlateFolder, assert_dagster_agrees, cell_assets, small_run
from cell_assets_tests.end_to_end.test_following import (
    EMBEDDINGS,
    FEATURES,
    FOVS,
    MODEL,
    REPORT,
    daemon,
    expect,
    in_short,
    ingest,
)


@pytest.mark.slow
def test_tables_let_go_of_are_made_again_once_each_time_and_restored_ones_are_not(
    new_lab: Callable[[], Settings], two_fovs: PlateFolder
) -> None:
    settings = new_lab()
    with daemon(settings) as at:
        ledger = at.session.ledger
        expect(at.session, "E1", "P1")
        ingest(at.session, two_fovs, "E1", "P1")
        choose(at.session, small_run("E1"))
        assert at.run(at.tick()) == [None]
        model = at.tick()
        assert [*map(in_short, model)] == [(MODEL, "E1")]

        evicted = cell_assets(settings, "gc", "P1", "--asset", "patch_table")
        assert (evicted.code, evicted.out.count("asked for")) == (0, 2), evicted.out
        (error,) = at.run(model)
        assert error is not None
        assert "were evicted" in error
        made = {table.id: table.digest for table in ledger.artifacts("patch_table")}
        again = at.tick()
        assert [*map(in_short, again)] == [(FOVS, "P1|A/1/000 to P1|A/2/000")]
        assert at.tick() == []
        assert at.run(again) == [None]
        assert {table.id: table.digest for table in ledger.artifacts("patch_table")} == made
        assert {table.state for table in ledger.artifacts("patch_table")} == {ArtifactState.PRESENT}
        assert len(ledger.attempts("segmentation", "P1|A/1/000")) == 1

        # Its bytes are those of then, but the failed run saw none: it is asked for under another key.
        model = at.tick()
        assert [*map(in_short, model)] == [(MODEL, "E1")]
        assert cell_assets(settings, "gc", "P1|A/1/000", "--asset", "patch_table").code == 0
        assert at.run(model) != [None]
        assert cell_assets(settings, "restore", str(min(made))).code == 0
        assert at.follow() == [(MODEL, "E1"), (EMBEDDINGS, "E1|P1"), (FEATURES, "P1"), (REPORT, "E1")]
        assert at.skipped == "E1: everything is current"

        # Numbers rest on them now.
        assert cell_assets(settings, "gc", "P1", "--asset", "patch_table").code == 1
        assert at.follow() == []
        assert_dagster_agrees(at.session)
