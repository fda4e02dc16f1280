"""A channel that the embedding did not see, read around called onsets."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from cell_assets.evaluation.features.cell_features import CellFeatures
from cell_assets.evaluation.features.remodelling import study_remodelling, unseen_channels, with_remodelling
from cell_assets.evaluation.splits import SplitUnit
from cell_assets.evaluation.studies.embedding_study import EmbeddedCells, EmbeddingStudy, study_embeddings
from cell_assets.evaluation.studies.study_parameters import StudyParameters
from cell_assets.reporting.remodelling_figures import remodelling_figures
from cell_assets.reporting.style import ACCENT, MUTED
from cell_assets_tests.evaluation.movies import infection_movie, informative_features
from cell_assets_tests.reporting.drawings import band, dots, drawn_figures, labels_of, upright_lines

RISE_H = 2.0
COLUMN = "Nuclei_Intensity_MeanIntensity_GFP"


@pytest.fixture(scope="module")
def phase_alone() -> EmbeddingStudy:
    """Every cell's GFP is 10 before it turns and rises by 2 an hour from then on; phase says that it has turned."""
    cells = infection_movie(n_lineages=80).assign(length_um=1.0)
    infected = (cells["infection_state"] == "infected").to_numpy()
    since = cells["hours_post_perturbation"].where(infected).groupby(cells["track_id"]).transform("min")
    gfp = 10 + RISE_H * (cells["hours_post_perturbation"] - since).clip(lower=0).fillna(0)
    features = pd.DataFrame(
        {COLUMN: gfp, "Nuclei_Intensity_MeanIntensity_Phase": 1.0, "Nuclei_AreaShape_Area": 5.0}
    )
    embedding = informative_features(infected, gap=8.0)
    return study_embeddings(
        EmbeddedCells(embedding, cells, embedding[:, :2], None, ("Phase",)),
        cells[["plate", "fov_name", "track_id", "t", "infection_state"]],
        tracks=cells,
        method="dynaclr",
        split_unit=SplitUnit.LINEAGE,
        interval_min=30.0,
        simulated=False,
        parameters=StudyParameters(n_resamples=100),
        features=CellFeatures(features, {"Phase": "Phase", "GFP": "GFP"}),
    )


def test_the_rise_of_an_unseen_channel_is_found_at_its_hours_from_onset(phase_alone: EmbeddingStudy) -> None:
    (found,) = phase_alone.remodelling
    assert (found.column, found.state, found.channel) == ("infection_state", "infected", "GFP")
    assert phase_alone.dynamics[0].onsets is not None
    tracks = phase_alone.dynamics[0].onsets.tracks
    turning = tracks[(tracks["split"] == "test") & (tracks["course"] == "turns")]
    assert found.n_tracks == len(turning) >= 5
    (curve,) = found.curves
    assert curve.feature == COLUMN
    assert 0.0 in curve.hours and -1.5 in curve.hours and 2.5 in curve.hours
    for hours, mean in zip(curve.hours, curve.means, strict=True):
        # The probe is right but for a frame here and there.
        assert mean.value == pytest.approx(10 + RISE_H * max(hours, 0), abs=0.7)
        assert 5 <= mean.n_units <= len(turning)
        assert mean.low is not None and mean.high is not None and mean.low <= mean.value <= mean.high
    (control,) = found.control
    assert found.n_control == ((tracks["split"] == "test") & (tracks["course"] == "never turns")).sum() >= 5
    # Nothing happens to GFP in tracks that do not turn.
    assert {mean.value for mean in control.means} == {10.0}
    numbers = {
        n.name: n for n in phase_alone.evaluation.numbers if n.report == "dynaclr/infection_state_remodelling"
    }
    assert len(numbers) == len(curve.hours) + len(control.hours)
    assert numbers[f"{COLUMN}_control_at_+0_h"].value == 10
    assert numbers[f"{COLUMN}_at_+2.5_h"].value == curve.means[list(curve.hours).index(2.5)].value
    assert f"{COLUMN}_at_-1.5_h" in numbers


def test_a_figure_for_each_curve_and_its_caption_counts_the_tracks(phase_alone: EmbeddingStudy) -> None:
    with drawn_figures() as figures:
        (figure,) = remodelling_figures(phase_alone.remodelling)
    (axes,) = figures[0].axes
    assert labels_of(axes)[:2] == ("Intensity MeanIntensity GFP", "hours from onset")
    (one,) = phase_alone.remodelling
    drawn = zip((MUTED, ACCENT), (*one.control, *one.curves), axes.collections, strict=True)
    for colour, curve, filled in drawn:
        means = [[hours, mean.value] for hours, mean in zip(curve.hours, curve.means, strict=True)]
        assert dots(axes, colour).tolist() == means
        bounds = [[hours, mean.low, mean.high] for hours, mean in zip(curve.hours, curve.means, strict=True)]
        assert band(filled) == pytest.approx(np.array(bounds))
    assert upright_lines(axes) == [0]
    assert f"over the {phase_alone.remodelling[0].n_tracks} test tracks" in figure.caption
    assert f"the {phase_alone.remodelling[0].n_control} test tracks that never turn" in figure.caption
    none = replace(phase_alone.remodelling[0], curves=(), why_missing="it is dark")
    assert remodelling_figures([none]) == ()


def test_what_the_embedding_saw_is_not_read() -> None:
    features = CellFeatures(pd.DataFrame({COLUMN: [1.0]}), {"Phase": "Phase", "GFP": "GFP"})
    assert unseen_channels(features, ("Phase",)) == ("GFP",)
    assert unseen_channels(features, ("GFP", "Phase")) == ()


def test_a_state_without_onset_says_why_nothing_is_read_around_it(phase_alone: EmbeddingStudy) -> None:
    without = replace(phase_alone.dynamics[0], onsets=None, why_no_onset="cells do not stay infected")
    features = CellFeatures(pd.DataFrame(), {"GFP": "GFP"})
    found = study_remodelling(
        phase_alone.evaluation, phase_alone.embedded.cells, features, [without], ("GFP",)
    )
    before = len(phase_alone.evaluation.numbers)
    (number,) = with_remodelling(phase_alone.evaluation, found).numbers[before:]
    assert (number.name, number.value, number.why_missing) == ("GFP", None, "cells do not stay infected")
