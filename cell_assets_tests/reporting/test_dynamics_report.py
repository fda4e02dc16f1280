import numpy as np
import pytest
from matplotlib.figure import Figure

from cell_assets.evaluation.studies.embedding_study import EmbeddingStudy
from cell_assets.reporting.dynamics_report import dynamics_figures, onset_tables
from cell_assets.reporting.wording import value_text
from cell_assets_tests.evaluation.movies import infection_movie
from cell_assets_tests.evaluation.states.test_state_dynamics import study
from cell_assets_tests.reporting.drawings import (
    band,
    dots,
    drawn_figures,
    labels_of,
    legend_of,
    line,
    upright_lines,
)


@pytest.fixture(scope="module")
def found() -> EmbeddingStudy:
    return study(infection_movie(n_lineages=160))


def test_captions_state_what_the_numbers_state(found: EmbeddingStudy) -> None:
    fraction, onset = dynamics_figures(found.dynamics)
    assert (fraction.name, onset.name) == ("infection_state_over_time", "infection_state_onset")
    numbers = {one.name: one for one in found.evaluation.numbers}
    for name, caption in (
        ("plateau_virus_DENV_5_MOI", fraction.caption),
        ("plateau_time_h_virus_DENV_5_MOI", fraction.caption),
        ("median_onset_h_virus_DENV_5_MOI", onset.caption),
        ("interval_coverage", onset.caption),
        ("median_absolute_error_frames", onset.caption),
    ):
        one = numbers[name]
        assert f"{value_text(one.value)} (95 % interval {value_text(one.ci_low)} to" in caption, name
    assert "mock: no logistic fit, because the fraction does not rise" in fraction.caption
    assert "mock: no median, because fewer than half have turned by the end, 0 % of them" in onset.caption
    n = round(numbers["intervals_with_annotated_fraction_virus_DENV_5_MOI"].value * 24)
    assert (
        f"Intervals over resampled lineages hold the annotated fraction at {n} of 24 time points."
        in fraction.caption
    )


@pytest.fixture(scope="module")
def drawn(found: EmbeddingStudy) -> tuple[Figure, Figure]:
    """The figures of fractions and of onsets."""
    with drawn_figures() as figures:
        dynamics_figures(found.dynamics)
    fraction, onset = figures
    return fraction, onset


def test_the_same_study_gives_the_same_bytes(found: EmbeddingStudy) -> None:
    first, again = dynamics_figures(found.dynamics), dynamics_figures(found.dynamics)
    assert [one.png for one in first] == [one.png for one in again]


def test_each_condition_has_its_fractions_interval_and_fit(
    found: EmbeddingStudy, drawn: tuple[Figure, Figure]
) -> None:
    fractions = found.dynamics[0].fractions
    assert [one.condition for one in fractions] == ["mock", "virus DENV 5 MOI"]
    ends = []
    for axes, one in zip(drawn[0].axes, fractions, strict=True):
        fraction_label = "fraction infected" if one.condition == "mock" else ""
        assert labels_of(axes) == (one.condition, "hours post perturbation", fraction_label)
        called = one.called
        assert line(axes, "called").tolist() == np.column_stack([called.time, called.values]).tolist()
        bounds = [[time, of.low, of.high] for time, of in zip(called.time, called.fraction, strict=True)]
        assert band(axes.collections[0]) == pytest.approx(np.array(bounds))
        assert one.annotated is not None
        assert line(axes, "annotated")[:, 1].tolist() == one.annotated.values.tolist()
        ends.append(line(axes, "called")[-1, 1])
    assert ends[0] == 0 and ends[1] > 0.9
    mock, infected = drawn[0].axes
    # Where nothing rises there is no fit.
    assert "logistic fit" not in mock.get_legend_handles_labels()[1]
    growth = fractions[1].growth
    fit = line(infected, "logistic fit")
    assert fit[:, 1].tolist() == growth.curve.at(fit[:, 0]).tolist()
    assert growth.plateau_time.value in upright_lines(infected)
    by_track = found.dynamics[0].along_tracks[1].called
    assert line(infected, "called by track")[:, 1].tolist() == by_track.values.tolist()
    assert {"95 % interval", "called", "annotated", "logistic fit", "called by track"} <= set(
        legend_of(drawn[0])
    )


def test_survival_of_each_condition_and_the_onset_of_each_track_are_drawn(
    found: EmbeddingStudy, drawn: tuple[Figure, Figure]
) -> None:
    left, right = drawn[1].axes
    onsets = found.dynamics[0].onsets
    for one in onsets.conditions:
        steps = line(left, one.condition)
        assert steps[1:-1].tolist() == np.column_stack([one.called.time, one.called.survival]).tolist()
        assert steps[[0, -1], 0].tolist() == [one.called.start, one.called.end] and steps[0, 1] == 1
    assert line(left, "virus DENV 5 MOI")[-1, 1] < 0.1 and line(left, "mock")[-1, 1] == 1
    assert labels_of(left)[1:] == ("hours post perturbation", "share not yet infected")
    assert legend_of(left) == ["mock", "virus DENV 5 MOI", "annotated"]
    tracks = onsets.tracks
    known = tracks[(tracks["split"] == "test") & (tracks["annotated_course"] == "turns")]
    seen = known[known["onset_t"].notna()][["annotated_onset_time", "onset_time"]].to_numpy()
    assert len(seen) > 10
    assert sorted(dots(right).tolist()) == sorted(seen.tolist())
    assert labels_of(right) == ("Onset, track by track", "annotated onset (h)", "onset by the probe (h)")


def test_where_a_column_has_no_onset_there_is_one_figure_and_no_table() -> None:
    cells = infection_movie(n_lineages=48)
    cells["infection_state"] = np.where(cells["t"] % 8 < 2, "infected", "uninfected")
    dynamics = study(cells).dynamics
    assert [one.name for one in dynamics_figures(dynamics)] == ["infection_state_over_time"]
    assert onset_tables(dynamics) == {}


def test_where_nothing_is_annotated_there_is_no_figure() -> None:
    nothing = study(infection_movie(n_lineages=24), annotated=False)
    assert dynamics_figures(nothing.dynamics) == () and onset_tables(nothing.dynamics) == {}
