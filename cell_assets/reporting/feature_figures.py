"""Figures of what an embedding's components mean: correlations with features, and cells at both ends."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from cell_assets.evaluation.features.feature_correlation import FeatureCorrelations
from cell_assets.evaluation.resampling import Estimate
from cell_assets.evaluation.units import FloatArray
from cell_assets.reporting.html import ReportFigure
from cell_assets.reporting.style import INK, OTHER, Sheet, bare, house_style
from cell_assets.reporting.wording import estimate_text, title_text

_DIVERGING = "RdBu_r"


@dataclass(frozen=True)
class ComponentEnds:
    """Cells with the lowest and the highest values of one principal component, of distinct tracks at each end."""

    component: int
    """0 for the first."""
    low: FloatArray
    """(n, C, Y, X), the lowest first."""
    high: FloatArray
    """(m, C, Y, X), the highest last."""
    channel_names: tuple[str, ...]


def feature_figures(
    found: FeatureCorrelations | None, ends: Sequence[ComponentEnds]
) -> tuple[ReportFigure, ...]:
    """The heat map of correlations and the cells at the components' ends, with captions; nothing without features."""
    if found is None:
        return ()
    figures = [
        ReportFigure(
            name="feature_correlations",
            title="What the principal components mean",
            caption=_correlation_caption(found),
            png=correlation_figure(found),
        )
    ]
    if ends:
        names = ", ".join(f"PC {one.component + 1}" for one in ends)
        figures.append(
            ReportFigure(
                name="component_ends",
                title="Cells at both ends of the principal components",
                caption=(
                    f"Test cells with the lowest (left) and the highest (right) values of {names}; no track is shown "
                    "twice at one end. Contrast is the same in all patches of a channel."
                ),
                png=ends_figure(ends),
            )
        )
    return tuple(figures)


def _correlation_caption(found: FeatureCorrelations) -> str:
    sentences = [
        f"Spearman rank correlation of {len(found.features)} measured features with the first "
        f"{found.components.shape[1]} principal components of the embedding, over test cells. A dot: the 95 % interval "
        "over resampled tracks leaves out 0. Grey: could not be computed."
    ]
    for component in range(found.components.shape[1]):
        best = found.strongest(component)
        if best is not None:
            estimate = found.estimates[best][component]
            sentences.append(
                f"PC {component + 1} goes most with {title_text(found.features[best])}: {estimate_text(estimate)}."
            )
    return " ".join(sentences)


@house_style()
def correlation_figure(found: FeatureCorrelations) -> bytes:
    """Features (rows) by components (columns), as the paper's Figure 3e."""
    n_features, n_components = len(found.features), found.components.shape[1]
    sheet = Sheet(4.6 + 0.45 * n_components, 1.2 + 0.17 * n_features)
    axes = sheet.axes[0][0]
    rho = np.array([[np.nan if e.value is None else e.value for e in row] for row in found.estimates])
    axes.set_facecolor(OTHER)
    image = axes.imshow(
        np.ma.masked_invalid(rho.reshape(n_features, n_components)),
        cmap=_DIVERGING,
        vmin=-1,
        vmax=1,
        aspect="auto",
    )
    sure = np.array([[_leaves_out_zero(e) for e in row] for row in found.estimates], dtype=bool)
    y, x = np.nonzero(sure.reshape(n_features, n_components))
    dark = np.abs(rho[y, x]) > 0.6
    for colour, chosen in (("white", dark), (INK, ~dark)):
        axes.plot(x[chosen], y[chosen], "o", color=colour, markersize=1.8, markeredgewidth=0)
    axes.set_yticks(range(n_features), [_short(name) for name in found.features], fontsize=6.5)
    shares = [f"PC {k + 1}\n{100 * share:.0f} %" for k, share in enumerate(found.explained)]
    axes.set_xticks(range(n_components), shares)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    bar = sheet.figure.colorbar(image, ax=axes, shrink=0.4, pad=0.03, aspect=14, anchor=(0, 1))
    bar.outline.set_visible(False)
    bar.set_label("rank correlation", fontsize=8)
    return sheet.png()


def _leaves_out_zero(estimate: Estimate) -> bool:
    return estimate.low is not None and estimate.high is not None and not estimate.low <= 0 <= estimate.high


def _short(feature: str) -> str:
    return title_text(feature.removeprefix("Nuclei_"))


@house_style()
def ends_figure(ends: Sequence[ComponentEnds]) -> bytes:
    """For each component a row of patches per channel: lowest cells left, highest right, as the paper's Figure 3f."""
    n_low = max(len(one.low) for one in ends)
    n_high = max(len(one.high) for one in ends)
    channels = ends[0].channel_names
    contrasts = [_contrast(ends, channel) for channel in range(len(channels))]
    sheet = Sheet(
        0.62 * (n_low + n_high) + 1.4,
        0.66 * len(ends) * len(channels) + 0.22 * len(ends) + 0.2,
        rows=len(ends) * len(channels),
        columns=n_low + 1 + n_high,
        width_ratios=[1.0] * n_low + [0.35] + [1.0] * n_high,
    )
    for place, one in enumerate(ends):
        for channel, name in enumerate(channels):
            row = sheet.axes[place * len(channels) + channel]
            for axes in row:
                bare(axes)
            images = [*one.low[:, channel], *[None] * (n_low - len(one.low) + 1), *one.high[:, channel]]
            for axes, image in zip(row, images, strict=False):
                if image is not None:
                    axes.imshow(image, cmap="gray", vmin=contrasts[channel][0], vmax=contrasts[channel][1])
            row[0].set_ylabel(name, fontsize=7)
        first = sheet.axes[place * len(channels)]
        _title(first[0], f"PC {one.component + 1}, lowest")
        _title(first[n_low + 1], "highest")
    return sheet.png()


def _title(axes: Axes, text: str) -> None:
    axes.set_title(text, fontsize=8, pad=3)


def _contrast(ends: Sequence[ComponentEnds], channel: int) -> tuple[float, float]:
    shown = np.concatenate([part[:, channel].ravel() for one in ends for part in (one.low, one.high)])
    low, high = np.percentile(shown, [1, 99.5])
    return float(low), float(max(high, low + 1e-9))
