import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cell_assets.errors import BadInputError
from cell_assets.evaluation.splits import (
    UNIT_COLUMNS,
    SplitParameters,
    SplitUnit,
    assign_splits,
    choose_unit,
)


def tracks_of(n_wells: int, n_fovs: int, n_tracks: int) -> pd.DataFrame:
    """Two conditions, alternating by well; each lineage root has two tracks."""
    rows = [
        {
            "plate": "P1",
            "well": f"A/{well + 1}",
            "fov_name": f"A/{well + 1}/{fov:03d}",
            "track_id": track,
            "lineage_root": track // 2,
            "condition": "mock" if well % 2 == 0 else "virus",
        }
        for well in range(n_wells)
        for fov in range(n_fovs)
        for track in range(n_tracks)
    ]
    return pd.DataFrame(rows)


@settings(max_examples=30)
@given(
    unit=st.sampled_from([SplitUnit.TRACK, SplitUnit.LINEAGE, SplitUnit.FOV, SplitUnit.WELL]),
    seed=st.integers(0, 1000),
)
def test_no_unit_stands_in_two_splits_and_row_order_does_not_matter(unit: SplitUnit, seed: int) -> None:
    tracks = tracks_of(n_wells=6, n_fovs=3, n_tracks=6)
    parameters = SplitParameters(unit=unit, seed=seed)
    split, used = assign_splits(tracks, parameters)
    assert used is unit
    assert tracks.assign(split=split).groupby(list(UNIT_COLUMNS[unit]))["split"].nunique().max() == 1
    assert {tuple(sorted(g.unique())) for _, g in split.groupby(tracks["condition"])} == {
        ("test", "train", "val")
    }
    shuffled = tracks.sample(frac=1, random_state=seed)
    again, _ = assign_splits(shuffled, parameters)
    assert again.sort_index().tolist() == split.tolist()


def test_fractions_are_of_units() -> None:
    split, _ = assign_splits(tracks_of(2, 10, 4), SplitParameters(unit=SplitUnit.FOV))
    assert split.value_counts().to_dict() == {"train": 40, "test": 24, "val": 16}


def test_the_widest_unit_with_enough_members_is_chosen() -> None:
    assert choose_unit(tracks_of(2, 3, 4)) is SplitUnit.FOV
    assert choose_unit(tracks_of(2, 1, 60)) is SplitUnit.LINEAGE
    assert choose_unit(tracks_of(2, 1, 10)) is SplitUnit.TRACK


def test_too_few_units_are_named() -> None:
    with pytest.raises(BadInputError, match=r"condition 'mock' has 2 fov\(s\)"):
        assign_splits(tracks_of(2, 2, 4), SplitParameters(unit=SplitUnit.FOV))
