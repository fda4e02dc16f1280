import numpy as np
import pandas as pd
import pytest

from cell_assets.evaluation.splits import SplitUnit
from cell_assets.evaluation.states.state_dynamics import condition_names
from cell_assets.evaluation.studies.embedding_study import EmbeddedCells, EmbeddingStudy, study_embeddings
from cell_assets.evaluation.studies.study_parameters import StudyParameters
from cell_assets.ledger.records import NumberDraft
from cell_assets_tests.evaluation.movies import infection_movie, informative_features

DENV = "virus_DENV_5_MOI"
COLUMN = "infection_state"
KEYS = ["plate", "fov_name", "track_id", "t"]


def study(
    cells: pd.DataFrame,
    order: np.ndarray | None = None,
    interval_min: float | None = 30.0,
    annotated: bool = True,
) -> EmbeddingStudy:
    """What a report of an experiment with these cells states; their features tell the states well apart."""
    cells = cells.reset_index(drop=True).assign(length_um=np.nan)
    features = informative_features((cells[COLUMN] == "infected").to_numpy(), n_features=4, gap=6.0) + 0.5
    states = cells[[*KEYS, COLUMN]]
    if order is not None:
        cells, features = cells.iloc[order].reset_index(drop=True), features[order]
    return study_embeddings(
        EmbeddedCells(features, cells.drop(columns=COLUMN), features[:, :2], None),
        states if annotated else None,
        tracks=cells,
        method="dynaclr",
        split_unit=SplitUnit.LINEAGE,
        interval_min=interval_min,
        simulated=True,
        parameters=StudyParameters(n_resamples=100),
    )


def stated(found: EmbeddingStudy) -> dict[tuple[str, str], NumberDraft]:
    numbers = {(one.report.partition("/")[2], one.name): one for one in found.evaluation.numbers}
    assert len(numbers) == len(found.evaluation.numbers)
    return numbers


@pytest.fixture(scope="module")
def whole() -> EmbeddingStudy:
    return study(infection_movie(n_lineages=164))  # so that val has one more turning track than test


def test_growth_and_onset_of_each_condition_are_numbers(whole: EmbeddingStudy) -> None:
    numbers = stated(whole)
    plateau = numbers["infection_state_over_time", f"plateau_{DENV}"]
    assert plateau.ci_low <= plateau.value <= plateau.ci_high and plateau.value > 0.9
    assert (plateau.unit, plateau.n, plateau.split) == ("lineages", 20, "test lineages (simulated)")
    # Onsets are log-normal about 8 h with an sd of 0.25: 95 % have turned by 8 exp(1.645 * 0.25) = 12.1 h.
    time = numbers["infection_state_over_time", f"plateau_time_h_{DENV}"]
    assert time.ci_low < 12.1 < time.ci_high
    assert "does not rise" in numbers["infection_state_over_time", "plateau_mock"].why_missing
    assert numbers["infection_state_fraction", f"infected_{DENV}_at_3_h"].value == 0
    assert numbers["infection_state_fraction", f"infected_{DENV}_at_14.5_h"].value > 0.9
    assert sum(report == "infection_state_fraction" for report, _ in numbers) == 2 * 24
    median = numbers["infection_state_onset", f"median_onset_h_{DENV}"]
    assert median.ci_low <= 8.0 <= median.ci_high and median.value == pytest.approx(8.0, abs=1)
    annotated = numbers["infection_state_onset", f"median_onset_h_annotated_{DENV}"]
    assert median.value == pytest.approx(annotated.value, abs=0.5)
    assert "0 % of them" in numbers["infection_state_onset", "median_onset_h_mock"].why_missing
    assert numbers["infection_state_onset", "median_absolute_error_frames"].value == 0
    assert numbers["infection_state_onset", "seen_to_turn"].value > 0.9
    assert numbers["infection_state_onset", "turned_without_onset"].value == 0
    coverage = numbers["infection_state_onset", "interval_coverage"]
    assert coverage.ci_low <= coverage.value <= coverage.ci_high and coverage.value >= 0.8


def test_every_onset_has_the_interval_that_was_calibrated(whole: EmbeddingStudy) -> None:
    (dynamics,) = whole.dynamics
    tracks, radius = dynamics.onsets.tracks, dynamics.onsets.radius.value
    known = tracks[tracks["annotated_course"] == "turns"]["split"].value_counts()
    n_calibration = known["train"] + known["val"]
    assert (dynamics.onsets.radius.n_units, dynamics.onsets.coverage.n_units) == (
        n_calibration,
        known["test"],
    )
    assert n_calibration > known["test"]
    turning = tracks["course"] == "turns"
    never = tracks["course"] == "never turns"
    assert turning.any() and never.any() and tracks.loc[~turning, "onset_high"].isna().all()
    # One not seen to turn may do so in the frame after its last, or later.
    low = tracks.loc[never, "end_time"] + 0.5 - radius * 0.5
    assert tracks.loc[never, "onset_low"].to_numpy() == pytest.approx(low.to_numpy())
    width = tracks.loc[turning, "onset_high"] - tracks.loc[turning, "onset_low"]
    assert width.to_numpy() == pytest.approx(2 * radius * 0.5)
    assert set(tracks["split"]) == {"train", "val", "test"}


def test_nothing_is_said_of_time_where_nothing_is_annotated_or_states_are_not_two() -> None:
    cells = infection_movie(n_lineages=24)
    assert study(cells, annotated=False).dynamics == ()
    three = cells.assign(infection_state=np.array(["a", "b", "c"])[cells["t"] % 3])
    found = study(three)
    assert found.dynamics == () and len(found.evaluation.tasks) == 4
    one = study(cells.assign(infection_state="uninfected"))
    for none in (found, one):
        assert not [
            n for n in none.evaluation.numbers if n.report.endswith(("_over_time", "_onset", "_fraction"))
        ]


def test_where_time_is_not_known_two_numbers_say_so() -> None:
    found = study(infection_movie(n_lineages=24), interval_min=None)
    numbers = stated(found)
    for key in (
        ("infection_state_over_time", "plateau_time"),
        ("infection_state_onset", "interval_coverage"),
    ):
        assert numbers[key].value is None
        assert numbers[key].why_missing == "the plate has a single time point or no time interval"
    assert found.dynamics[0].calls is None


def test_a_state_that_goes_back_has_a_fraction_and_no_onset() -> None:
    cells = infection_movie(n_lineages=48)
    cells[COLUMN] = np.where(cells["t"] % 8 < 2, "infected", "uninfected")
    numbers = stated(study(cells))
    assert numbers["infection_state_fraction", "infected_mock_at_3_h"].value is not None
    why = numbers["infection_state_onset", "interval_coverage"].why_missing
    assert why.startswith("cells do not stay infected: annotated train and val tracks go there")


def test_too_few_tracks_to_calibrate_give_no_interval() -> None:
    numbers = stated(study(infection_movie(n_lineages=16)))
    half_width = numbers["infection_state_onset", "interval_half_width_frames"]
    assert half_width.value is None
    assert half_width.why_missing.endswith(
        "train and val tracks have a known onset, and an interval of 90 % needs at least 9"
    )
    assert numbers["infection_state_onset", "interval_coverage"].why_missing == half_width.why_missing
    assert numbers["infection_state_onset", "median_absolute_error_frames"].value is not None


def test_row_order_changes_no_number() -> None:
    cells = infection_movie(n_lineages=48)
    order = np.random.default_rng(0).permutation(len(cells))
    assert study(cells).evaluation.numbers == study(cells, order).evaluation.numbers


def test_conditions_that_read_alike_keep_names_of_their_own() -> None:
    names = condition_names(["DENV 0.5", "DENV/0.5", "mock"])
    assert list(names.values()) == ["DENV_0.5", "DENV_0.5_2", "mock"]
