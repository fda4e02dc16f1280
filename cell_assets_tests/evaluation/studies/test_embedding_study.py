"""What a study of several plates adds: one UMAP for all, and the rank of the projections."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from cell_assets.evaluation.scores.tasks import without_states
from cell_assets.evaluation.splits import SplitUnit
from cell_assets.evaluation.studies.embedding_study import EmbeddedCells, EmbeddingStudy, study_embeddings
from cell_assets.evaluation.studies.study_parameters import StudyParameters
from cell_assets_tests.evaluation.movies import infection_movie, informative_features


def two_plates() -> EmbeddedCells:
    movies = [infection_movie(n_lineages=12, n_times=8).assign(plate=plate) for plate in ("P1", "P2")]
    cells = pd.concat(movies, ignore_index=True).assign(length_um=np.nan)
    features = informative_features((cells["infection_state"] == "infected").to_numpy(), n_features=6) + 0.5
    # Two directions, one with a tenth of the other's standard deviation.
    plane = np.random.default_rng(0).normal(size=(len(cells), 2)) * [1.0, 0.1]
    return EmbeddedCells(features, cells, features[:, :2], None, projections=plane @ np.eye(2, 5))


def studied(embedded: EmbeddedCells, states: pd.DataFrame | None = None) -> EmbeddingStudy:
    return study_embeddings(
        embedded,
        states,
        tracks=embedded.cells,
        method="dynaclr",
        split_unit=SplitUnit.LINEAGE,
        interval_min=30.0,
        simulated=True,
        parameters=StudyParameters(n_resamples=100),
    )


@pytest.fixture(scope="module")
def study() -> EmbeddingStudy:
    return studied(two_plates())


def test_several_plates_share_one_umap(study: EmbeddingStudy) -> None:
    xy = study.embedded.umap
    assert xy is not None and xy.shape == (len(study.embedded.cells), 2)
    stated = {(one.report, one.name): one for one in study.evaluation.numbers}
    assert stated["dynaclr/temporal_smoothness_umap", "smoothness"].value is not None


def test_its_coordinates_go_with_the_cells_whatever_their_order(study: EmbeddingStudy) -> None:
    embedded = two_plates()
    order = np.random.default_rng(1).permutation(len(embedded.cells))
    again = studied(
        replace(
            embedded,
            features=embedded.features[order],
            cells=embedded.cells.iloc[order].reset_index(drop=True),
            pca=embedded.pca[order],
            projections=embedded.projections[order],
        )
    )
    np.testing.assert_array_equal(again.embedded.umap, study.embedded.umap[order])
    assert again.evaluation.numbers == study.evaluation.numbers


def test_the_rank_of_projections_is_stated_beside_that_of_features(study: EmbeddingStudy) -> None:
    stated = {(one.report, one.name): one.value for one in study.evaluation.numbers}
    assert stated["dynaclr/feature_rank", "matrix_rank"] == 6
    assert stated["dynaclr/projection_rank", "matrix_rank"] == 2
    assert stated["dynaclr/projection_rank", "components_95"] == 1
    assert 1 < stated["dynaclr/projection_rank", "effective_rank"] < 2


def test_a_third_state_is_said_to_stand_in_the_way_and_can_be_left_unused() -> None:
    embedded = two_plates()
    states = embedded.cells[["plate", "fov_name", "track_id", "t"]].copy()
    states["infection_state"] = np.where(states["track_id"] % 2 == 0, "infected", "uninfected")
    states.loc[states.index[:3], "infection_state"] = "unknown"
    found = studied(embedded, states)
    (note,) = [one for one in found.evaluation.notes if one.startswith("infection_state is annotated")]
    assert note.startswith(
        "infection_state is annotated as infected, uninfected, unknown: fractions over time"
    )
    assert found.dynamics == ()

    used = without_states(states, ("unknown",))
    assert used is not None and used["infection_state"].isna().sum() == 3
    pd.testing.assert_frame_equal(used.iloc[3:], states.iloc[3:])
    found = studied(embedded, used)
    assert [one.column for one in found.dynamics] == ["infection_state"]
    assert not [one for one in found.evaluation.notes if one.startswith("infection_state is annotated")]
