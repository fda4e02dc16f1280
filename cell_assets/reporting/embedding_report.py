"""Which figures an embedding's report shows, in which order, and the captions that say what is to be seen."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from cell_assets.evaluation.motion.dynamics import Dynamics
from cell_assets.evaluation.motion.rank import FeatureSpectrum
from cell_assets.evaluation.scores.task_scores import TaskEvaluation
from cell_assets.evaluation.studies.evaluate import EmbeddingEvaluation
from cell_assets.reporting.embedding_figures import (
    Colouring,
    PatchStrip,
    Projection,
    loss_figure,
    patch_strip_figure,
    scatter_figure,
)
from cell_assets.reporting.html import ReportFigure
from cell_assets.reporting.identity_figures import identity_figures
from cell_assets.reporting.score_figures import (
    forest_figure,
    precision_recall_figure,
    smoothness_figure,
    spectrum_figure,
)
from cell_assets.reporting.wording import estimate_text, title_text, value_text


@dataclass(frozen=True)
class EmbeddingPictures:
    """What a report draws beside the scores; leave out what there is not."""

    projections: tuple[Projection, ...] = ()
    """All of the same N cells, for example PCA and UMAP."""
    colourings: tuple[Colouring, ...] = ()
    """Of the same N cells, for example condition, infection state, hours post perturbation."""
    history: pd.DataFrame | None = None
    """`epoch` and one column per loss (`history.parquet` of the checkpoint)."""
    strips: tuple[PatchStrip, ...] = ()
    """Of a test track each, of one task each."""


def embedding_figures(
    evaluation: EmbeddingEvaluation, pictures: EmbeddingPictures
) -> tuple[ReportFigure, ...]:
    """Figures with captions for everything that could be computed; what could not stands in the numbers."""
    figures = [_precision_recall(task) for task in evaluation.tasks if task.curves]
    further = [task for task in evaluation.further if task.scores[0].estimate.value is not None]
    scored = [task for task in evaluation.tasks if task.score("average_precision").value is not None]
    if scored:
        figures.append(_forest(scored))
    figures += [
        _further(split, [task for task in further if task.split == split])
        for split in dict.fromkeys(task.split for task in further)
    ]
    figures += [_strip(strip) for strip in pictures.strips]
    if pictures.projections and pictures.colourings:
        figures.append(_scatter(pictures.projections, pictures.colourings))
    figures += [
        _smoothness(space.space, space.dynamics)
        for space in evaluation.dynamics
        if space.dynamics is not None
    ]
    if evaluation.identity is not None:
        figures += identity_figures(evaluation.identity, evaluation.dynamics)
    if evaluation.spectrum is not None:
        figures.append(_spectrum(evaluation.spectrum, evaluation.projection_spectrum))
    if pictures.history is not None and len(pictures.history):
        figures.append(_loss(pictures.history))
    return tuple(figures)


def _precision_recall(task: TaskEvaluation) -> ReportFigure:
    sentences = [
        f"{curve.title.capitalize()}: average precision {estimate_text(curve.average_precision)}."
        for curve in task.curves
    ]
    sentences.append(f"Knowing nothing gives {value_text(task.prevalence.value)}, the dashed line.")
    sentences += [
        f"{who} less {title_text(score.of)}, on the same resamples: {estimate_text(score.estimate)}"
        f"{_verdict(score.estimate.low, score.estimate.high)}."
        for score in task.scores
        if (who := _gainer(score.metric)) is not None and score.estimate.value is not None
    ]
    return ReportFigure(
        name=f"precision_recall_{task.name}",
        title=f"How well the embedding finds “{title_text(task.name)}”",
        caption=" ".join(sentences),
        png=precision_recall_figure(task),
    )


def _gainer(metric: str) -> str | None:
    """Who is held against another in a gain of average precision; None for other metrics."""
    if not metric.startswith("average_precision_gain") or not metric.endswith("_over"):
        return None
    of = metric.removeprefix("average_precision_gain").removeprefix("_of_").removesuffix("_over")
    return title_text(of).capitalize() if of else "Embedding"


def _verdict(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return ""
    if low > 0:
        return ", so the first knows more"
    if high < 0:
        return ", so the first knows less"
    return ", which does not tell the two apart"


def _forest(tasks: Sequence[TaskEvaluation]) -> ReportFigure:
    caption = (
        "Dots are values on the test rows, bars their 95 % intervals. Blue is the embedding, orange a simpler "
        "measurement through the same probe, or a supervised segmentation that was given the same annotations and "
        "names its own probability, green the embedding and cell length together, grey what needs no measurement. "
        "Accuracy, balanced accuracy and F1 call a row positive from a probability of one half of a class-balanced "
        "probe, so a rare class can cost accuracy against always guessing the majority."
    )
    return ReportFigure("scores", "Every score beside its rivals", caption, forest_figure(tasks))


def _further(split: str, tasks: Sequence[TaskEvaluation]) -> ReportFigure:
    caption = (
        f"As above, scored on {split}. Folds score every cell by a probe that learned from no relative of it, though "
        "the embedding may have seen it without labels; half of the test tracks is the split of DynaCLR's Table 1, "
        "by track and not by single cell, whose neighbours in time would give the answer away."
    )
    name = f"scores_{re.sub(r'[^A-Za-z0-9]+', '_', split)}"
    return ReportFigure(name, f"The same questions on {split}", caption, forest_figure(tasks))


def _strip(strip: PatchStrip) -> ReportFigure:
    caption = (
        "The longest followed of the test tracks that show it, so it was not picked for its looks. Contrast is the "
        f"same in all frames of a channel. Above each frame {strip.clock}."
    )
    if strip.probability is not None:
        caption += f" Bars: {strip.probability_title}, as the class-balanced probe sees each frame."
    return ReportFigure(
        f"example_track_{strip.task}",
        f"One test track, frame by frame: {title_text(strip.task)}",
        caption,
        patch_strip_figure(strip),
    )


def _scatter(projections: Sequence[Projection], colourings: Sequence[Colouring]) -> ReportFigure:
    names = " and ".join(projection.name for projection in projections)
    colours = ", ".join(title_text(colouring.title) for colouring in colourings)
    caption = (
        f"One point per cell and time point, training and test rows together, coloured by {colours}. UMAP "
        "keeps neighbours and not distances; no number here is read from it unless it says so."
    )
    png = scatter_figure(projections, colourings)
    return ReportFigure("projections", f"{names} of the embeddings", caption, png)


def _smoothness(space: str, dynamics: Dynamics) -> ReportFigure:
    within = "the features" if space == "features" else title_text(space)
    caption = (
        f"Left: over one interval a cell moves {estimate_text(dynamics.displacement_first_lag)}. Cells of "
        f"different tracks, the dashed line, are {estimate_text(dynamics.random_pairs)} apart. The ratio, "
        f"{estimate_text(dynamics.smoothness)}, would be 0 for a cell that stands still and 1 for one that "
        "jumps as far as to another cell. Growth of the displacement from a lag of one frame to one of "
        f"{dynamics.range_lag_frames}, the longest that enough tracks reach: "
        f"{estimate_text(dynamics.dynamic_range)}. Right: distance to the cell's own first time point. Only "
        "tracks that live long enough reach the right end of either curve."
    )
    title = f"How far cells move along their tracks, in {within}"
    return ReportFigure(f"smoothness_{space}", title, caption, smoothness_figure(dynamics))


def _spectrum(spectrum: FeatureSpectrum, projections: FeatureSpectrum | None) -> ReportFigure:
    caption = (
        f"Of {spectrum.n_features} features on {spectrum.n_rows} test rows, {spectrum.components_95} "
        f"principal components hold 95 % of the variance; the matrix rank is "
        f"{spectrum.matrix_rank}, the effective "
        f"rank {value_text(spectrum.effective_rank)}."
    )
    if spectrum.n_rows <= spectrum.n_features:
        caption += " No rank can exceed the number of rows less one, so they say little here."
    if projections is not None:
        caption += (
            f" Of {projections.n_features} projections, which the loss sees, {projections.components_95} components "
            f"hold as much; their matrix rank is {projections.matrix_rank}, the effective rank "
            f"{value_text(projections.effective_rank)}."
        )
    title = "How many directions the features use"
    return ReportFigure("explained_variance", title, caption, spectrum_figure(spectrum, projections))


def _loss(history: pd.DataFrame) -> ReportFigure:
    return ReportFigure(
        name="training",
        title="Training loss",
        caption=f"Loss per epoch of the checkpoint that made these embeddings, {len(history)} epochs.",
        png=loss_figure(history),
    )
