import numpy as np
import pandas as pd
import pytest

from cell_assets.evaluation.motion.disruption_study import (
    MOST_SUSPICIOUS,
    TrackDisruptions,
    centroids_um,
    study_track_disruptions,
    with_track_disruptions,
)
from cell_assets.evaluation.motion.track_disruptions import DisruptionKind
from cell_assets.evaluation.studies.study_parameters import DisruptionParameters
from cell_assets.imaging.acquisition import VoxelSize
from cell_assets_tests.evaluation.moving_tracks import looks, moving_cells, plain_evaluation

SWAP, MERGE = DisruptionKind.SWAP, DisruptionKind.MERGE


def study(cells, features, position, interval_min=5.0, **parameters) -> TrackDisruptions:
    evaluation = plain_evaluation(cells, features, interval_min)
    return study_track_disruptions(
        features, cells, position, evaluation, DisruptionParameters(**parameters), cells
    )


def swap_of(found: TrackDisruptions):
    return next(kind for kind in found.kinds if kind.kind is SWAP)


def average_precision(found: TrackDisruptions, of: str = "embedding") -> float:
    return swap_of(found).estimate("average_precision", of).value


def test_cells_that_touch_are_told_apart_by_their_looks_and_not_by_motion() -> None:
    cells, position = moving_cells(spacing_um=0.2, step_um=2.0)
    found = study(cells, looks(cells, identity=2.0), position)
    assert average_precision(found) > 0.95
    assert average_precision(found, "motion") < 0.5
    assert average_precision(found, "combined") > 0.95
    gain = swap_of(found).estimate("average_precision_gain_over_motion")
    assert gain.low > 0.3
    assert swap_of(found).estimate("share_that_looks_different").value == 1.0


def test_cells_that_look_alike_and_are_far_apart_are_told_apart_by_motion_alone() -> None:
    cells, position = moving_cells(spacing_um=15.0, step_um=0.5)
    found = study(cells, looks(cells, identity=0.0), position)
    assert average_precision(found, "motion") > 0.95 and average_precision(found, "prediction_error") > 0.8
    assert average_precision(found) < 0.3
    swap = swap_of(found)
    assert swap.estimate("average_precision_gain_over_motion").high < -0.5
    # 5 % of ordinary steps are longer than the limit, and so are about as many distances between cells alike.
    assert swap.estimate("share_that_looks_different").value < 0.2
    assert swap.estimate("precision").value < 0.3 < 0.9 < swap.estimate("precision", "motion").value


def test_disrupted_steps_are_as_long_as_the_distance_of_the_partners() -> None:
    cells, position = moving_cells(spacing_um=10.0, step_um=0.0)
    found = study(cells, looks(cells, identity=2.0, noise=1e-9), position + np.zeros(2), nearest=1)
    swap = swap_of(found)
    assert swap.estimate("motion_um_disrupted").value == pytest.approx(10.0)
    assert swap.estimate("motion_um_undisrupted").value == 0.0
    assert swap.estimate("displacement_undisrupted").value == pytest.approx(0.0, abs=1e-6)
    assert swap.estimate("auroc_of_displacement").value == 1.0
    # Nothing ever moves, so no spread of motion is known, and no detector may be made up.
    why = swap.estimate("average_precision", "motion").why_missing
    assert why.startswith("motion alone") and "more than half of its steps are equal" in why
    assert swap.estimate("recall", "combined").why_missing == why


def test_every_kind_is_counted_in_test_tracks_and_partners_are_one_unit() -> None:
    cells, position = moving_cells()
    found = study(cells, looks(cells, identity=2.0), position, share_of_tracks=1.0)
    assert [kind.kind for kind in found.kinds] == [SWAP, MERGE] and not found.why_missing
    for kind in found.kinds:
        assert kind.n_events_test > 0 and kind.n_events_fit > 0
        assert (
            kind.disrupted.sum() == 2 * kind.n_events_test
        )  # in both tracks, or into the neighbour and back
        assert len(kind.score) == 10 * 4 * 11
    assert swap_of(found).estimate("recall").n_units == 40 - swap_of(found).n_events_test


def test_numbers_carry_names_splits_and_intervals_and_none_is_twice() -> None:
    cells, position = moving_cells()
    features = looks(cells, identity=1.0)
    evaluation = plain_evaluation(cells, features)
    found = study_track_disruptions(features, cells, position, evaluation, DisruptionParameters(), cells)
    numbers = with_track_disruptions(evaluation, found).numbers[len(evaluation.numbers) :]
    by_name = {(one.report, one.name): one for one in numbers}
    assert len(by_name) == len(numbers)
    for kind in ("swap", "merge"):
        report = f"dynaclr/track_disruptions_{kind}"
        for name in ("average_precision", "precision_motion", "recall_combined", "f1_prediction_error"):
            number = by_name[report, name]
            assert number.ci_low <= number.value <= number.ci_high
            assert (number.unit, number.split) == ("tracks", "test FOVs (simulated)")
        assert by_name[report, "average_precision_chance"].value == pytest.approx(
            2 * {one.kind: one.n_events_test for one in found.kinds}[kind] / 440
        )
    assert by_name["dynaclr/track_disruptions_real", "share_of_steps_above_threshold"].value < 0.1


@pytest.mark.parametrize(
    ("changes", "interval_min", "why"),
    [
        ({}, None, "the plate has a single time point or no time interval"),
        (
            {"cells_per_fov": 1},
            5.0,
            "no test track has a neighbour within 30 µm that is followed over the frames of a",
        ),
        ({"spacing_um": 90.0}, 5.0, "no test track has a neighbour within 30 µm"),
        ({"n_times": 1}, None, "the plate has a single time point or no time interval"),
        ({"n_times": 1}, 5.0, "no test track has a neighbour within 30 µm"),
    ],
)
def test_where_nothing_can_be_injected_one_number_of_each_kind_says_why(changes, interval_min, why) -> None:
    cells, position = moving_cells(n_fovs=4, **changes)
    features = looks(cells, identity=1.0)
    evaluation = plain_evaluation(cells, features, interval_min)
    found = study_track_disruptions(features, cells, position, evaluation, DisruptionParameters(), cells)
    assert found.kinds == () and set(found.why_missing) == {SWAP, MERGE}
    numbers = with_track_disruptions(evaluation, found).numbers[len(evaluation.numbers) :]
    assert [one.report.rpartition("_")[2] for one in numbers] == ["swap", "merge", "real"]
    assert all(one.value is None and one.why_missing for one in numbers)
    assert all(why in one.why_missing for one in numbers[:2])


def test_row_order_changes_no_number_and_no_table() -> None:
    cells, position = moving_cells(n_fovs=8)
    features = looks(cells, identity=1.0)
    order = np.random.default_rng(3).permutation(len(cells))
    straight = study(cells, features, position)
    shuffled = study(cells.iloc[order].reset_index(drop=True), features[order], position[order])
    assert [kind.scores for kind in straight.kinds] == [kind.scores for kind in shuffled.kinds]
    pd.testing.assert_frame_equal(straight.suspicious, shuffled.suspicious)
    example = swap_of(shuffled).example.rows
    assert (order[example["row"].to_numpy()] == swap_of(straight).example.rows["row"].to_numpy()).all()


def test_held_out_cells_do_not_move_the_threshold() -> None:
    cells, position = moving_cells()
    features = looks(cells, identity=1.0)
    is_test = (cells["split"] == "test").to_numpy()
    other = features + np.where(is_test, 1.0, 0.0)[:, None] * looks(cells, 3.0, seed=9)
    thresholds = [swap_of(study(cells, one, position)).threshold for one in (features, other)]
    assert thresholds[0] == thresholds[1]
    fitted = np.where(is_test[:, None], features, other * 0 + looks(cells, 3.0, seed=9))
    assert swap_of(study(cells, fitted, position)).threshold != thresholds[0]


def test_a_real_disruption_is_the_first_step_to_look_at() -> None:
    cells, position = moving_cells()
    features = looks(cells, identity=2.0)
    key = ["fov_name", "track_id", "t"]
    places = cells.reset_index().set_index(key)["index"]
    jumped = [places["A/1/002", 1, t] for t in range(6, 12)]
    stranger = [places["A/1/007", 3, t] for t in range(6, 12)]
    features[jumped], position[jumped] = features[stranger], position[stranger]
    found = study(cells, features, position)
    assert len(found.suspicious) == MOST_SUSPICIOUS
    first = found.suspicious.iloc[0]
    assert (first["plate"], first["fov_name"], first["track_id"], first["t"]) == ("P1", "A/1/002", 1, 6)
    assert first["above_threshold"] and np.isnan(first["minutes_to_division"])
    assert found.suspicious["score"].is_monotonic_decreasing
    before = found.share_above.value
    assert 0 < before < 0.05


def test_a_suspicious_step_before_a_division_says_so() -> None:
    cells, position = moving_cells(n_fovs=4)
    features = looks(cells, identity=2.0)
    last = (cells["fov_name"] == "A/1/002") & (cells["track_id"] == 2) & (cells["t"] == 11)
    features[last.to_numpy()] *= -1
    born = pd.DataFrame(
        {"plate": "P1", "fov_name": "A/1/002", "track_id": [8, 9], "parent_track_id": 2, "t": [12, 12]}
    )
    tracks = pd.concat([cells, born])
    evaluation = plain_evaluation(cells, features)
    found = study_track_disruptions(features, cells, position, evaluation, DisruptionParameters(), tracks)
    assert found.suspicious["minutes_to_division"].iloc[0] == 0.0


def test_centroids_are_in_micrometres_of_their_own_plate() -> None:
    cells = pd.DataFrame(
        {"plate": pd.Categorical(["P2", "P1"]), "z": [2.0, 2.0], "y": [10.0, 10.0], "x": [4.0, 4.0]}
    )
    sizes = {"P1": VoxelSize(z=None, y=0.5, x=0.25), "P2": VoxelSize(z=3.0, y=1.0, x=1.0)}
    assert centroids_um(cells, sizes).tolist() == [[6.0, 10.0, 4.0], [0.0, 5.0, 1.0]]


def test_cells_left_out_of_the_split_are_neither_partners_nor_looked_at() -> None:
    cells, position = moving_cells(n_fovs=8)
    features = looks(cells, identity=2.0)
    unlisted = cells.assign(split=np.where(cells["track_id"] == 2, "unlisted", cells["split"]))
    evaluation = plain_evaluation(unlisted, features)
    found = study_track_disruptions(
        features, unlisted, position, evaluation, DisruptionParameters(), unlisted
    )
    assert 2 not in set(found.suspicious["track_id"])
    for kind in found.kinds:
        assert not any(name.endswith("|2") for name in (kind.example.event.track, kind.example.event.partner))
