"""Presets and what is refused."""

import pytest

from cell_assets.errors import BadInputError
from cell_assets.methods.state_segmentation.parameters import StateSegmentationParameters


def test_presets_are_named_and_changed() -> None:
    paper = StateSegmentationParameters.named("paper", {})
    assert (paper.base_width, paper.depth, paper.preset) == (64, 4, "paper")
    quick = StateSegmentationParameters.named("quick", {"seed": 3, "column": "infection_state"})
    assert (quick.preset, quick.seed, quick.column) == ("quick", 3, "infection_state")


@pytest.mark.parametrize(
    ("preset", "changes", "said"),
    [
        ("fast", {}, "preset 'fast' is not one of paper, quick"),
        ("quick", {"widht": 3}, "parameter widht=3 cannot be used"),
        ("quick", {"base_width": 12}, "parameter base_width=12 cannot be used"),
        ("quick", {"tile_px": 100}, "tile_px=100 is no multiple of 8, which depth=3 needs"),
    ],
)
def test_what_cannot_be_used_is_named(preset: str, changes: dict[str, object], said: str) -> None:
    with pytest.raises(BadInputError, match=said):
        StateSegmentationParameters.named(preset, changes)
