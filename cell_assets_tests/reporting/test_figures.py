import io
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cell_assets.reporting.embedding_figures import (
    Colouring,
    PatchStrip,
    Projection,
    patch_strip_figure,
    scatter_figure,
)
from cell_assets.reporting.embedding_report import EmbeddingPictures, embedding_figures
from cell_assets.reporting.score_figures import smoothness_figure
from cell_assets.reporting.style import ACCENT, OTHER, PALETTE
from cell_assets_tests.reporting.contents import small_evaluation, small_pictures


@pytest.fixture(scope="module")
def evaluation():
    return small_evaluation()


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def share_of(png: bytes, colour: str) -> float:
    wanted = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)])
    return float((np.abs(pixels(png).astype(int) - wanted).max(axis=-1) < 12).mean())


def test_a_figure_for_everything_that_could_be_computed(evaluation):
    names = [figure.name for figure in embedding_figures(evaluation, small_pictures())]
    assert names == [
        "precision_recall_infection_state",
        "scores",
        "example_track_about_to_divide",
        "example_track_infection_state",
        "projections",
        "smoothness_features",
        "explained_variance",
        "training",
    ]
    assert "precision_recall_about_to_divide" not in names  # nothing divides: its number says why


def test_figures_need_no_pictures(evaluation):
    names = {figure.name for figure in embedding_figures(evaluation, EmbeddingPictures())}
    assert names == {
        "precision_recall_infection_state",
        "scores",
        "smoothness_features",
        "explained_variance",
    }


def test_captions_state_the_values_that_the_numbers_state(evaluation):
    caption = embedding_figures(evaluation, EmbeddingPictures())[0].caption
    numbers = {n.name: n for n in evaluation.numbers if n.report == "dynaclr/infection_state"}
    for name in ("average_precision", "average_precision_length_alone", "average_precision_chance"):
        assert f"{numbers[name].value:.3f}" in caption or f"{numbers[name].value:.0f}" in caption
    assert f"{numbers['average_precision'].ci_low:.3f} to" in caption


def test_the_users_own_matplotlib_settings_do_not_change_a_byte(evaluation):
    dynamics = evaluation.dynamics[0].dynamics
    plain = smoothness_figure(dynamics)
    with mpl.rc_context({"font.size": 20, "axes.facecolor": "black", "lines.linewidth": 9}):
        assert smoothness_figure(dynamics) == plain
        assert mpl.rcParams["font.size"] == 20


def test_categories_have_the_palettes_colours_and_missing_ones_are_grey():
    xy = np.random.default_rng(0).normal(size=(400, 2))
    values = pd.Series(["a"] * 200 + ["b"] * 100 + [None] * 100)
    png = scatter_figure([Projection("PCA", xy, ("1", "2"))], [Colouring("state", values)])
    a, b, grey = (share_of(png, colour) for colour in (PALETTE[0], PALETTE[1], OTHER))
    assert a > b > 0
    assert grey > 0


def test_a_hundred_conditions_are_drawn_as_the_commonest_and_the_rest():
    rng = np.random.default_rng(0)
    values = pd.Series([f"compound {k:03d}" for k in rng.integers(0, 100, size=2000)])
    png = scatter_figure(
        [Projection("PCA", rng.normal(size=(2000, 2)), ("1", "2"))], [Colouring("moa", values)]
    )
    assert share_of(png, OTHER) > 3 * share_of(png, PALETTE[0])


def test_the_probability_of_each_frame_is_the_height_of_its_bar():
    strip = PatchStrip("S", np.zeros((4, 1, 8, 8)), ("phase",), np.arange(4.0), np.full(4, 0.25), "P")
    quarter, full = (
        share_of(patch_strip_figure(replace(strip, probability=np.full(4, value))), ACCENT)
        for value in (0.25, 1.0)
    )
    assert quarter / full == pytest.approx(0.25, rel=0.1)


def test_a_strip_shows_at_most_twelve_frames_and_the_last_ones():
    images = np.zeros((30, 1, 8, 8))
    images[-1] = np.eye(8)
    strip = PatchStrip("S", images, ("phase",), np.arange(30.0))
    short = PatchStrip("S", images[-12:], ("phase",), np.arange(18.0, 30.0))
    assert patch_strip_figure(strip) == patch_strip_figure(short)
