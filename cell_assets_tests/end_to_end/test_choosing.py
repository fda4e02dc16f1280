"""What `cell-assets run` makes of a wish before anything runs."""

from collections.abc import Callable

import pytest

from cell_assets.automation.ingesting import ingest_plate
from cell_assets.automation.running import RunRequest, choose
from cell_assets.errors import BadInputError
from cell_assets.settings import Settings
from cell_assets_tests.end_to_end.lab import PlateFolder, opened


def test_patches_are_stored_large_enough_to_be_turned(
    new_lab: Callable[[], Settings], two_fovs: PlateFolder
) -> None:
    with opened(new_lab()) as session:
        ingest_plate(session, two_fovs.request("E1", "P1"))

        def side(**asked: object) -> int | None:
            request = RunRequest.model_validate({"experiment": "E1", **asked})
            return choose(session, request).fovs.patches.side_px

        # 64 pixels of the quick preset fit into the default's 120; sqrt(2) * 1.3 * 1.0101 is 1.857.
        assert side() is None
        assert side(preset="paper") == 239
        assert side(patch_px=32) == 61
        still = {"training": {"dynaclr": {"changes": {"augmentation": {"scale": 0, "shear": 0}}}}}
        assert side(patch_px=32, choices=still) == 47
        # What a person chose stays, and is refused where nothing could train on it.
        assert side(preset="quick", choices={"fovs": {"patches": {"side_px": 200}}}) == 200
        assert side(preset="paper") == 200
        before = session.ledger.head()
        small = {"fovs": {"patches": {"side_px": 90}}}
        with pytest.raises(BadInputError, match=r"sees 128 px, more than the stored patches of 90 px"):
            side(choices=small)
        assert session.ledger.head() == before
        assert side(preset="quick", choices=small) == 90
        with pytest.raises(BadInputError, match=r"--patch-px 128, or choose side_px=239"):
            side(preset="paper")
        assert side() == 90
        assert side(preset="paper", patch_px=128) == 239
