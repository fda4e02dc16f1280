import numpy as np
import pandas as pd
import pytest

from cell_assets.evaluation.studies.embedding_study import EmbeddingStudy
from cell_assets.reporting.embedding_figures import Projection
from cell_assets.reporting.moving_cells import dynamics_page, states_seen_and_predicted
from cell_assets_tests.evaluation.movies import infection_movie
from cell_assets_tests.evaluation.states.test_state_dynamics import study
from cell_assets_tests.reporting.test_dynamics_page import data_of


@pytest.fixture(scope="module")
def found() -> EmbeddingStudy:
    cells = infection_movie(n_lineages=24, n_times=10)
    return study(cells, np.random.default_rng(0).permutation(len(cells)))


def pca(found: EmbeddingStudy) -> list[Projection]:
    return [Projection("PCA", found.embedded.pca, ("PC 1", "PC 2"))]


def test_the_page_of_a_study_holds_its_test_cells_in_hours_with_both_colourings(
    found: EmbeddingStudy,
) -> None:
    page = dynamics_page(found, pca(found), "Cells of E1 over time")
    data = data_of(page)
    assert data["times"] == [3.0 + 0.5 * k for k in range(10)]
    assert data["time_title"] == "hours post perturbation"
    (one,) = data["sets"]
    test = found.embedded.cells.query("split == 'test'")
    assert len(one["tracks"]) == test["track_id"].nunique()
    assert one["totals"] == [len(one["tracks"])] * 10
    assert [colouring["title"] for colouring in one["colourings"]] == [
        "infection state, annotated",
        "infection state, predicted",
    ]
    assert {len(set(c["colours"])) for c in one["colourings"]} == {2}
    shades = [dict(zip(c["names"], c["colours"], strict=True)) for c in one["colourings"]]
    assert shades[0] == shades[1]


def test_predictions_are_those_of_the_probe_row_by_row(found: EmbeddingStudy) -> None:
    cells = found.embedded.cells
    rows = np.flatnonzero((cells["split"] == "test").to_numpy())
    annotated, predicted = states_seen_and_predicted(cells, rows, found.annotations, found.evaluation.tasks)
    task = next(task for task in found.evaluation.tasks if task.name == "infection_state")
    said = task.predictions.set_index(["fov_name", "track_id", "t"])["probability"]
    truth = found.annotations["infection_state"]
    for place, row in enumerate(rows):
        key = tuple(cells.loc[row, ["fov_name", "track_id", "t"]])
        expected = task.positive if said[key] >= 0.5 else task.negative
        assert predicted.values.iloc[place] == expected
        assert annotated.values.iloc[place] == truth.iloc[row]


def test_of_several_states_the_likeliest_is_predicted() -> None:
    cells = infection_movie(n_lineages=24, n_times=10)
    three = cells.assign(infection_state=np.array(["a", "b", "c"])[cells["t"] % 3])
    found = study(three)
    rows = np.flatnonzero((found.embedded.cells["split"] == "test").to_numpy())
    _, predicted = states_seen_and_predicted(
        found.embedded.cells, rows, found.annotations, found.evaluation.tasks
    )
    keys = found.embedded.cells.iloc[rows][["fov_name", "track_id", "t"]].reset_index(drop=True)
    chances = pd.DataFrame(
        {
            task.positive: keys.merge(task.predictions, on=list(keys.columns))["probability"]
            for task in found.evaluation.tasks
            if task.name.startswith("infection_state_")
        }
    )
    assert list(chances.columns) == ["a", "b", "c"]
    assert predicted.values.tolist() == chances.idxmax(axis=1).tolist()


def test_a_single_time_point_has_no_page_and_cells_without_any_state_are_coloured_by_condition() -> None:
    cells = infection_movie(n_lineages=24, n_times=4)
    still = study(cells, interval_min=None)
    assert dynamics_page(still, pca(still), "E1") is None
    plain = study(cells, annotated=False)
    (colouring,) = data_of(dynamics_page(plain, pca(plain), "E1"))["sets"][0]["colourings"]
    assert (colouring["title"], colouring["names"]) == ("condition", ["mock", "virus DENV 5 MOI"])
