import json

import pytest

from cell_assets.evaluation.splits import SplitUnit
from cell_assets.evaluation.studies.embedding_study import EmbeddedCells, EmbeddingStudy, study_embeddings
from cell_assets.evaluation.studies.study_parameters import StudyParameters
from cell_assets.reporting.embedding_report import EmbeddingPictures, embedding_figures
from cell_assets.reporting.html import ReportContent, render_html
from cell_assets.reporting.identity_figures import identity_figures
from cell_assets.reporting.report import write_report
from cell_assets.reporting.style import ACCENT, PALETTE
from cell_assets_tests.evaluation.movies import informative_features, track_table
from cell_assets_tests.reporting.contents import small_report
from cell_assets_tests.reporting.drawings import (
    bars,
    dots,
    drawn_figures,
    labels_of,
    points,
    upright_lines,
)

KEYS = ["plate", "fov_name", "track_id", "t"]


@pytest.fixture(scope="module")
def study() -> EmbeddingStudy:
    cells = track_table(n_tracks=60)
    features = informative_features((cells["infection_state"] == "infected").to_numpy(), 4, gap=2.0) + 0.5
    return study_embeddings(
        EmbeddedCells(
            features, cells.drop(columns="infection_state").assign(condition="mock"), features[:, :2], None
        ),
        cells[[*KEYS, "infection_state"]],
        tracks=cells,
        method="dynaclr",
        split_unit=SplitUnit.TRACK,
        interval_min=30.0,
        simulated=False,
        parameters=StudyParameters(n_resamples=100, folds=2),
    )


@pytest.fixture(scope="module")
def report(study: EmbeddingStudy) -> ReportContent:
    base = small_report(simulated=False)
    return ReportContent(
        title="DynaCLR on E1",
        subtitle="60 tracks",
        evaluation=study.evaluation,
        left_out=base.left_out,
        figures=embedding_figures(study.evaluation, EmbeddingPictures()),
        inputs=base.inputs,
        parameters=base.parameters,
    )


def test_smoothness_stands_beside_identity_and_the_caption_states_the_numbers(
    study: EmbeddingStudy, report: ReportContent
) -> None:
    (figure,) = [one for one in report.figures if one.name == "smoothness_and_identity"]
    numbers = {n.name: n.value for n in study.evaluation.numbers if n.report.endswith("_and_identity")}
    stated = ("same_cell", "same_cell_chance", "smoothness_identity_removed")
    for name in (*stated, "state_in_other_fovs_infection_state"):
        assert f"{numbers[name]:.3f}" in figure.caption, name
    # No cell of this table turns, so within tracks there is no state to explain.
    assert "explains: not computed, because no test track changes its state" in figure.caption


def test_smoothness_identity_and_states_are_drawn_row_by_row(study: EmbeddingStudy) -> None:
    found = study.evaluation.identity
    features = next(one.dynamics for one in study.evaluation.dynamics if one.space == "features")
    assert found is not None and features is not None
    with drawn_figures() as figures:
        identity_figures(found, study.evaluation.dynamics)
    left, right = figures[0].axes
    (state,) = found.states
    smoothness = {
        "as it is": features.smoothness,
        "track's mean taken away": found.smoothness_identity_removed.estimate,
        f"one frame over {features.ratio_lag_frames}": features.displacement_ratio,
    }
    identity = {
        "same cell is nearest": found.same_cell.estimate,
        "variance between tracks": found.variance_between_tracks.estimate,
        # No cell turns, so that there is no row of the state given the track.
        "infection state in other FOVs": state.in_other_fovs.estimate,
    }
    for axes, rows in ((left, smoothness), (right, identity)):
        assert [tick.get_text() for tick in axes.get_yticklabels()] == list(rows)
        assert dots(axes).tolist() == [[one.value, k] for k, one in enumerate(rows.values())]
        assert bars(axes).tolist() == [[one.low, one.high, k] for k, one in enumerate(rows.values())]
    assert dots(left, ACCENT)[0, 0] == features.smoothness.value
    assert len(dots(right, PALETTE[1])) == 2 and len(dots(right, ACCENT)) == 1
    assert 1.0 in upright_lines(left)
    chance = [points(one).tolist() for one in right.lines if one.get_marker() == "|"]
    assert chance == [[[found.same_cell_chance.estimate.value, 0]], [[0, 1]], [[0.5, 2]]]
    assert labels_of(left)[:2] == ("Smoothness", "movement per interval")
    assert labels_of(right)[:2] == ("Identity and state", "share")


def test_where_cells_do_not_move_there_is_no_figure_of_smoothness(study: EmbeddingStudy) -> None:
    assert study.evaluation.identity is not None
    assert identity_figures(study.evaluation.identity, ()) == ()


def test_each_further_split_has_a_figure_predictions_and_a_headline(
    report: ReportContent, tmp_path_factory: pytest.TempPathFactory
) -> None:
    out = tmp_path_factory.mktemp("report")
    write_report(out, report)
    figures = {file.stem for file in (out / "figures").iterdir()}
    assert {"scores_2_folds_by_lineage", "scores_half_of_test_tracks"} <= figures
    predictions = {file.stem for file in (out / "predictions").iterdir()}
    assert {"infection_state_by_lineage_folds", "infection_state_half_of_test"} <= predictions
    written = json.loads((out / "numbers.json").read_text())["numbers"]
    assert {"2 folds by lineage", "half of test tracks", "test tracks"} == {one["split"] for one in written}
    page = render_html(report)
    assert "infection state by lineage folds: average precision" in page
    assert "infection state half of test: balanced accuracy" in page
    assert "Intervals are over tracks." in page
    assert "after the track&#39;s mean is taken away" in page


def test_what_the_embedding_adds_to_length_is_said_in_the_caption(report: ReportContent) -> None:
    (figure,) = [one for one in report.figures if one.name == "precision_recall_infection_state"]
    gain = next(
        n
        for n in report.evaluation.numbers
        if n.report == "dynaclr/infection_state"
        and n.name == "average_precision_gain_of_both_over_length_alone"
    )
    assert f"Both less length alone, on the same resamples: {gain.value:.3f}" in figure.caption
