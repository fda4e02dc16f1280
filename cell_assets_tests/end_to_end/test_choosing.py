"""What `cell-assets run` makes of a wish before anything runs."""

from collections.abc import Callable

from cell_assets.automation.ingesting import ingest_plate
from cell_assets.automation.running import RunRequest, choose
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
        # What a person chose stays.
        assert side(choices={"fovs": {"patches": {"side_px": 90}}}) == 90
        assert side(preset="paper") == 90
