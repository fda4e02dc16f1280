import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from cell_assets.evaluation.scores.tasks import Labels, column_labels
from cell_assets.evaluation.splits import SplitUnit
from cell_assets.evaluation.states.state_calls import StateCalls, call_states, time_axis
from cell_assets_tests.evaluation.movies import infection_movie, informative_features


def calls(cells: pd.DataFrame, labels: Labels | None = None, gap: float = 5.0, **options) -> StateCalls | str:
    cells = cells.reset_index(drop=True)
    labels = labels or column_labels(cells, "infection_state", "infected", "uninfected")
    features = informative_features((cells["infection_state"] == "infected").to_numpy(), gap=gap)
    settings = {"interval_min": 30.0, "split_unit": SplitUnit.TRACK, "seed": 0, **options}
    return call_states(features, cells, labels, **settings)


def test_every_cell_is_called():
    cells = infection_movie()
    found = calls(cells)
    assert len(found.rows) == len(cells)
    joined = found.rows.merge(cells, on=["plate", "fov_name", "track_id", "t"], validate="1:1")
    assert (joined["split_x"] == joined["split_y"]).all()
    assert (joined["time"] == joined["hours_post_perturbation"]).all()
    truth = joined["infection_state"] == "infected"
    assert (joined["annotated"].astype(bool) == truth).all()
    assert ((joined["probability"] >= 0.5) == truth).mean() > 0.95


def test_what_is_annotated_of_a_train_track_does_not_decide_how_it_is_called():
    """Features say nothing, so that a probe could know a track from its own annotation alone."""
    cells = infection_movie(n_lineages=16).reset_index(drop=True)
    infected = cells["track_id"] % 2 == 0
    cells["infection_state"] = np.where(infected, "infected", "uninfected")
    labels = column_labels(cells, "infection_state", "infected", "uninfected")
    features = np.eye(16)[cells["track_id"] - 1]  # one feature for each track
    found = call_states(features, cells, labels, interval_min=30.0, split_unit=SplitUnit.TRACK, seed=0)
    assert set(found.rows["split"]) == {"train", "val", "test"}
    right = (found.rows["probability"] >= 0.5) == found.rows["annotated"].astype(bool)
    # The probe of all train and val tracks calls every one of them right.
    learned = cells["split"] != "test"
    truth = infected.to_numpy()[learned]
    seen = LogisticRegression(C=10).fit(features[learned], truth).predict(features[learned])
    assert (seen == truth).all() and right[found.rows["split"] != "test"].mean() < 0.7


def test_what_test_cells_look_like_changes_nothing_of_the_probe():
    cells = infection_movie()
    first = calls(cells).rows
    spoilt = cells.copy()
    held = spoilt["split"] == "test"
    spoilt.loc[held, "infection_state"] = "uninfected"
    labels = column_labels(spoilt, "infection_state", "infected", "uninfected")
    features = informative_features((cells["infection_state"] == "infected").to_numpy(), gap=5.0)
    second = call_states(features, spoilt, labels, interval_min=30.0, split_unit=SplitUnit.TRACK, seed=0)
    assert not isinstance(second, str)
    assert (first["probability"] == second.rows["probability"]).all()


def test_cells_that_nobody_annotated_are_called_all_the_same():
    cells = infection_movie()
    cells["infection_state"] = cells["infection_state"].mask((cells["split"] == "test") & (cells["t"] > 3))
    found = calls(cells)
    late = found.rows[(found.rows["split"] == "test") & (found.rows["t"] > 3)]
    assert late["annotated"].isna().all() and len(late) and late["probability"].notna().all()


def test_the_state_is_the_one_that_cells_turn_into_though_it_is_the_commoner():
    cells = infection_movie(onset_hours=4.0)
    cells = cells[cells["condition"] != "mock"].reset_index(drop=True)
    rarer = column_labels(cells, "infection_state", "uninfected", "infected")
    found = calls(cells, rarer)
    assert (found.direction.state, found.direction.other) == ("infected", "uninfected")
    assert found.direction.is_lasting and found.direction.n_back == 0
    late = found.rows[found.rows["t"] == 23]
    assert late["annotated"].all() and (late["probability"] > 0.5).mean() > 0.9


def test_a_state_that_comes_and_goes_does_not_last():
    cells = infection_movie()
    cells["infection_state"] = np.where(cells["t"] % 8 < 2, "infected", "uninfected")
    found = calls(cells)
    n_train = (cells["split"] != "test").sum() / 24
    # Each of three visits ends within the film, and two begin in it.
    assert (found.direction.n_into, found.direction.n_back) == (2 * n_train, 3 * n_train)
    assert not found.direction.is_lasting
    assert found.direction.state == "infected"


def test_no_founder_is_on_two_sides():
    cells = infection_movie()
    # Tracks 2 and 3 (train), 4 (val) and 6 (test) descend from one founder; 8 (train) and 5 (val) from another.
    cells["fov_name"] = "A/1/000"
    cells["lineage_root"] = cells["lineage_root"].replace({2: 1, 3: 1, 4: 1, 6: 1, 5: 8})
    split = cells.drop_duplicates("track_id").set_index("track_id")["split"]
    assert set(split[[2, 3, 4, 6]]) == {"train", "val", "test"}
    assert set(split[[5, 8]]) == {"train", "val"}
    found = calls(cells)
    held = found.rows.drop_duplicates("track_id").set_index("track_id")
    for root, tracks in cells.groupby("lineage_root")["track_id"].unique().items():
        there = held.reindex(tracks).dropna(subset="split")["split"].unique()
        assert ("test" in there) == ("test" in set(split[tracks])), root
        assert "test" not in there or len(there) == 1
    assert set(held.reindex([5, 8])["split"]) == {"train", "val"}
    assert any("their founder also has tracks in the test split" in note for note in found.notes)


def test_hours_are_read_where_every_row_has_them_and_minutes_counted_else():
    cells = infection_movie(n_lineages=4)
    hours = time_axis(cells, 30.0)
    assert (hours.unit, hours.title, hours.interval) == ("h", "hours post perturbation", 0.5)
    assert hours.values[:3].tolist() == [3.0, 3.5, 4.0]
    cells.loc[5, "hours_post_perturbation"] = None
    minutes = time_axis(cells, 30.0)
    assert (minutes.unit, minutes.title, minutes.interval) == ("min", "minutes since the first frame", 30.0)
    assert minutes.values[:3].tolist() == [0.0, 30.0, 60.0]
    assert time_axis(cells.drop(columns="hours_post_perturbation"), 30.0).unit == "min"


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda c: c["infection_state"].mask(c["split"] != "test"), "no training row has a label"),
        (
            lambda c: c["infection_state"].mask(c["split"] != "test", "uninfected"),
            "rows are negative, so there is nothing to learn",
        ),
    ],
)
def test_where_nothing_can_be_learned_it_says_why(spoil, why):
    cells = infection_movie()
    found = calls(cells.assign(infection_state=spoil(cells)))
    assert isinstance(found, str) and why in found
