import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cell_assets.errors import BadInputError
from cell_assets.evaluation.scores.tasks import about_to_divide, annotation_labels, column_labels
from cell_assets_tests.evaluation.movies import dividing_pair
from cell_assets_tests.shared_data import shared_data


def state(labels, cells, track):
    """One letter per time point: + positive, - negative, . censored."""
    rows = (cells["track_id"] == track).to_numpy()
    return "".join(
        "." if not known else "+" if label else "-"
        for label, known in zip(labels.label[rows], labels.known[rows], strict=True)
    )


def test_about_to_divide_by_hand():
    cells = dividing_pair()
    labels = about_to_divide(cells, interval_min=5.0, horizon_min=10.0)
    assert state(labels, cells, 1) == "--+++"  # divides at t 4: 10 min before is t 2
    assert state(labels, cells, 2) == "--..."  # the movie ends at t 9
    assert state(labels, cells, 4) == "-..."  # lost after t 3
    assert state(labels, cells, 5) == "-------..."
    assert labels.excluded[0].n_rows == 3 + 3 + 3 + 3
    assert "censored" in labels.excluded[0].reason


def test_a_single_child_is_not_a_division():
    cells = dividing_pair().query("track_id != 3")
    labels = about_to_divide(cells, 5.0, 10.0)
    assert state(labels, cells, 1) == "--..."


def test_a_daughter_missing_from_the_cells_is_found_in_the_tracks():
    tracks = dividing_pair()
    cells = tracks.query("track_id != 3")
    assert state(about_to_divide(cells, 5.0, 10.0, tracks=tracks), cells, 1) == "--+++"


def test_the_same_track_id_in_another_fov_or_plate_is_another_track():
    one = dividing_pair().assign(plate="P1")
    other = dividing_pair().query("track_id == 1").assign(plate="P2")
    cells = pd.concat([one, other], ignore_index=True)
    labels = about_to_divide(cells, 5.0, 10.0)
    assert labels.label[(cells["plate"] == "P1").to_numpy()].sum() == 3
    assert labels.label[(cells["plate"] == "P2").to_numpy()].sum() == 0


def test_a_row_exactly_at_the_horizon_is_inside_it_in_spite_of_rounding():
    cells = dividing_pair()
    assert state(about_to_divide(cells, 0.1, 0.3), cells, 1) == "-++++"


@given(seed=st.integers(0, 999))
def test_labels_do_not_depend_on_row_order(seed):
    cells = dividing_pair()
    order = np.random.default_rng(seed).permutation(len(cells))
    straight = about_to_divide(cells, 5.0, 10.0)
    shuffled = about_to_divide(cells.iloc[order], 5.0, 10.0)
    np.testing.assert_array_equal(shuffled.label, straight.label[order])
    np.testing.assert_array_equal(shuffled.known, straight.known[order])


def test_a_plate_without_an_interval_gives_no_labels_and_says_why():
    labels = about_to_divide(dividing_pair(), None, 10.0)
    assert not labels.known.any()
    assert "single time point" in labels.why_none


@pytest.mark.parametrize(("interval", "horizon"), [(0.0, 10.0), (5.0, 0.0), (-1.0, 10.0)])
def test_times_that_cannot_be_are_refused(interval, horizon):
    with pytest.raises(BadInputError, match="above 0 minutes"):
        about_to_divide(dividing_pair(), interval, horizon)


def test_a_cell_whose_track_is_unknown_is_refused_by_name():
    tracks = dividing_pair().query("track_id != 5")
    with pytest.raises(BadInputError, match=r"track \|A/1/000\|5 of the cell table"):
        about_to_divide(dividing_pair(), 5.0, 10.0, tracks=tracks)


def test_annotations_join_by_cell_not_by_position():
    cells = dividing_pair()
    states = cells.assign(infection_state=np.where(cells["t"] > 4, "infected", "uninfected"))
    states = states.sample(frac=0.8, random_state=0)
    labels = annotation_labels(cells, states, "infection_state", "infected")
    annotated = cells.index.isin(states.index)
    np.testing.assert_array_equal(labels.known, annotated)
    np.testing.assert_array_equal(labels.label, annotated & (cells["t"] > 4).to_numpy())
    assert labels.excluded[0].n_rows == (~annotated).sum()


def test_a_third_state_is_left_out_and_counted():
    cells = dividing_pair()
    cells["state"] = np.select([cells["t"] < 3, cells["t"] < 6], ["a", "b"], "dead")
    labels = column_labels(cells, "state", positive="b", negative="a")
    assert labels.known.sum() == (cells["t"] < 6).sum()
    assert labels.excluded[0].reason == "state is neither b nor a"


def test_an_annotation_given_twice_is_refused_by_name():
    cells = dividing_pair()
    states = cells.assign(s="x")
    with pytest.raises(BadInputError, match="fov_name A/1/000, track_id 1, t 0"):
        annotation_labels(cells, pd.concat([states, states.iloc[:1]]), "s", "x")


def test_annotations_without_a_plate_are_refused_when_there_are_two():
    cells = pd.concat([dividing_pair().assign(plate=p) for p in ("P1", "P2")])
    with pytest.raises(BadInputError, match="2 plates"):
        annotation_labels(cells, dividing_pair().assign(s="x"), "s", "x")


def test_no_row_with_either_value_says_so():
    labels = column_labels(dividing_pair().assign(s=None), "s", "x", "y")
    assert labels.why_none == "no row has s x or y"


@pytest.mark.needs_shared
def test_every_given_division_of_the_ecoli_movie_has_exactly_one_positive_row_at_its_last_frame():
    table = np.loadtxt(shared_data("ctc_ecoli") / "01_GT" / "TRA" / "man_track.txt", dtype=np.int64)
    cells = pd.DataFrame(
        [
            {"fov_name": "A/1/000", "track_id": track, "t": t, "parent_track_id": parent or -1}
            for track, begin, end, parent in table
            for t in range(begin, end + 1)
        ]
    )
    labels = about_to_divide(cells, interval_min=5.0, horizon_min=0.001)
    assert labels.label.sum() == 130
