"""Figures of components and features: what is drawn, and what the captions state."""

import io
from dataclasses import replace

import numpy as np
from PIL import Image

from cell_assets.evaluation.features.feature_correlation import FeatureCorrelations
from cell_assets.evaluation.resampling import Estimate
from cell_assets.reporting.cell_ends import CellEnds, ends_figure
from cell_assets.reporting.feature_figures import (
    correlation_figure,
    feature_figures,
)
from cell_assets.reporting.style import OTHER


def correlations(rho: float | None) -> FeatureCorrelations:
    """Two features, two components: one value `rho`, the rest as good as zero."""
    near = Estimate(0.01, -0.2, 0.2, 9, 100)
    first = (
        Estimate.missing("it is constant", 9)
        if rho is None
        else Estimate(rho, rho - 0.05, rho + 0.05, 9, 100)
    )
    return FeatureCorrelations(
        features=("Nuclei_AreaShape_Area", "Nuclei_Ring_Ratio_mCherry"),
        estimates=((first, near), (near, near)),
        explained=np.array([0.6, 0.2]),
        components=np.zeros((4, 2)),
        test=np.ones(4, bool),
        n_unmeasured=0,
    )


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def n_of(png: bytes, colour: tuple[int, int, int]) -> int:
    return int((np.abs(pixels(png) - colour).max(axis=-1) < 12).sum())


def test_the_sign_of_a_correlation_is_its_colour_and_what_is_missing_is_grey() -> None:
    red, blue = (178, 24, 43), (33, 102, 172)  # RdBu at 0.8 either way
    grey = tuple(int(OTHER[k : k + 2], 16) for k in (1, 3, 5))
    assert len(grey) == 3
    up, down, none = (correlation_figure(correlations(rho)) for rho in (0.8, -0.8, None))
    assert n_of(up, red) > 3 * n_of(down, red)
    assert n_of(down, blue) > 3 * n_of(up, blue)
    assert n_of(none, grey) > 1000 > n_of(up, grey)
    assert correlation_figure(correlations(0.8)) == up


def test_captions_name_the_strongest_feature_with_its_interval() -> None:
    (figure,) = feature_figures(correlations(-0.8), ())
    assert (
        "PC 1 goes most with Nuclei AreaShape Area: -0.800 (95 % interval -0.850 to -0.750)."
        in figure.caption
    )
    assert "2 measured features with the first 2 principal components" in figure.caption
    assert feature_figures(None, ()) == ()


def test_patches_lie_at_their_own_end_with_one_contrast_a_channel() -> None:
    low, high = np.zeros((2, 1, 8, 8)), np.full((2, 1, 8, 8), 100.0)
    ends = CellEnds("PC 1", low, high, ("Phase",))
    image = pixels(ends_figure([ends])).mean(axis=2)
    middle = image.shape[1] // 2
    assert (image[:, :middle] < 5).mean() > 0.2 > (image[:, middle:] < 5).mean()
    figures = feature_figures(correlations(0.8), [ends])
    assert [one.name for one in figures] == ["feature_correlations", "component_ends"]
    assert "PC 1" in figures[1].caption


def test_the_caption_counts_what_was_measured_and_names_what_was_computed_of_it() -> None:
    plain, derived = (feature_figures(replace(correlations(0.9), n_derived=n), ())[0].caption for n in (0, 1))
    assert plain.startswith("Spearman rank correlation of 2 measured features with the first 2")
    assert "of 1 measured features and of the interquartile ranges computed from them with" in derived
