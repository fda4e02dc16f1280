import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from cell_assets.evaluation.scores.probe_splits import half_of_test_tracks, lineage_folds
from cell_assets.evaluation.scores.tasks import Labels
from cell_assets.evaluation.splits import SplitUnit

ROWS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 4), st.booleans(), st.booleans()), min_size=4, max_size=60
)


def table(rows) -> tuple[pd.DataFrame, Labels, np.ndarray]:
    """Cells in lineages of up to three tracks each, labels, and which cells are used."""
    cells = pd.DataFrame(
        {
            "plate": "P1",
            "fov_name": [f"A/{fov + 1}/000" for fov, _, _, _ in rows],
            "lineage_root": [lineage for _, lineage, _, _ in rows],
            "track_id": [10 * lineage + k % 3 for k, (_, lineage, _, _) in enumerate(rows)],
            "t": range(len(rows)),
        }
    )
    label = np.array([label for _, _, label, _ in rows])
    known = np.arange(len(rows)) % 5 != 0
    return cells, Labels("q", "yes", "no", "r", label & known, known), np.array([used for *_, used in rows])


def lineages_of(cells: pd.DataFrame, rows: np.ndarray) -> set:
    return set(zip(cells["fov_name"][rows], cells["lineage_root"][rows], strict=True))


@given(rows=ROWS, n_folds=st.integers(2, 4), seed=st.integers(0, 99))
def test_no_lineage_is_on_both_sides_and_every_cell_is_scored_once_in_any_order(rows, n_folds, seed):
    cells, labels, used = table(rows)
    split = lineage_folds(cells, labels, used, n_folds)
    scored = used & labels.known
    lineages = lineages_of(cells, scored)
    if len(lineages) < n_folds:
        assert f"descend from {len(lineages)} founder(s)" in split.why_none
        return
    assert split.name == f"{n_folds} folds by lineage" and len(split.parts) == n_folds
    for part in split.parts:
        assert not lineages_of(cells, part.fit) & lineages_of(cells, part.test)
        np.testing.assert_array_equal(part.fit | (part.test & labels.known), scored)
        assert (part.test & scored).any()
    assert (np.sum([part.test for part in split.parts], axis=0)[scored] == 1).all()
    assert not split.test[~used].any()
    order = np.random.default_rng(seed).permutation(len(cells))
    again = lineage_folds(cells.iloc[order], labels.reordered(order), used[order], n_folds)
    for part, other in zip(split.parts, again.parts, strict=True):
        np.testing.assert_array_equal(part.test[order], other.test)


@given(rows=ROWS, seed=st.integers(0, 99))
def test_halves_are_of_whole_labelled_test_tracks(rows, seed):
    cells, labels, test = table(rows)
    tracks = (cells["fov_name"] + cells["track_id"].astype(str)).to_numpy()
    (part,) = half_of_test_tracks(cells, labels, test, seed).parts
    np.testing.assert_array_equal(part.fit | part.test, test & labels.known)
    assert not set(tracks[part.fit]) & set(tracks[part.test])
    difference = len(set(tracks[part.fit])) - len(set(tracks[part.test]))
    assert 0 <= difference <= 2  # one for the tracks with a positive row and one for those without
    order = np.random.default_rng(seed).permutation(len(cells))
    (again,) = half_of_test_tracks(cells.iloc[order], labels.reordered(order), test[order], seed).parts
    np.testing.assert_array_equal(part.fit[order], again.fit)


def test_lineages_are_dealt_by_their_positive_cells():
    # Positive cells per lineage 5, 4, 3, 2, 1: dealt out as 5 + 2 + 1 and 4 + 3.
    rows = [(0, k, i < 5 - k, True) for k in range(5) for i in range(6)]
    cells, _, used = table(rows)
    everything = Labels("q", "yes", "no", "r", np.array([label for _, _, label, _ in rows]), used)
    split = lineage_folds(cells, everything, used, 2)
    assert [set(cells["lineage_root"][part.test]) for part in split.parts] == [{0, 3, 4}, {1, 2}]
    assert split.unit is SplitUnit.LINEAGE
    two = cells["lineage_root"].to_numpy() < 2
    assert lineage_folds(cells, everything, two, 2).unit is SplitUnit.TRACK
