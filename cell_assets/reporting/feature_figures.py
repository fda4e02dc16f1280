"""Figures of what an embedding's components mean: correlations with features, and cells at both ends."""

from collections.abc import Sequence

import numpy as np

from cell_assets.evaluation.features.feature_correlation import FeatureCorrelations
from cell_assets.evaluation.resampling import Estimate
from cell_assets.reporting.cell_ends import CellEnds, ends_figure
from cell_assets.reporting.html import ReportFigure
from cell_assets.reporting.style import INK, OTHER, Sheet, house_style
from cell_assets.reporting.wording import estimate_text, title_text

_DIVERGING = "RdBu_r"


def feature_figures(found: FeatureCorrelations | None, ends: Sequence[CellEnds]) -> tuple[ReportFigure, ...]:
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
        names = ", ".join(one.what for one in ends)
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
    derived = " and of the interquartile ranges computed from them" if found.n_derived else ""
    sentences = [
        f"Spearman rank correlation of {found.n_measured} measured features{derived} with the first "
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
