import io

import matplotlib.image
import numpy as np
import pytest

from cell_assets.evaluation.studies.embedding_study import EmbeddingStudy
from cell_assets.reporting.dynamics_report import dynamics_figures, onset_tables
from cell_assets.reporting.wording import value_text
from cell_assets_tests.evaluation.movies import infection_movie
from cell_assets_tests.evaluation.states.test_state_dynamics import study


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


def test_figures_are_drawn_and_are_the_same_again(found: EmbeddingStudy) -> None:
    first, again = dynamics_figures(found.dynamics), dynamics_figures(found.dynamics)
    for one, other in zip(first, again, strict=True):
        assert one.png == other.png
        assert matplotlib.image.imread(io.BytesIO(one.png)).std() > 0.05  # something is drawn on the white


def test_where_a_column_has_no_onset_there_is_one_figure_and_no_table() -> None:
    cells = infection_movie(n_lineages=48)
    cells["infection_state"] = np.where(cells["t"] % 8 < 2, "infected", "uninfected")
    dynamics = study(cells).dynamics
    assert [one.name for one in dynamics_figures(dynamics)] == ["infection_state_over_time"]
    assert onset_tables(dynamics) == {}


def test_where_nothing_is_annotated_there_is_no_figure() -> None:
    nothing = study(infection_movie(n_lineages=24), annotated=False)
    assert dynamics_figures(nothing.dynamics) == () and onset_tables(nothing.dynamics) == {}
