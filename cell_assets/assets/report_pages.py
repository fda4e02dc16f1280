"""An experiment's report, from the folders that it reads to the folder that is published. No Dagster here."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from cell_assets.assets.component_ends import component_ends
from cell_assets.assets.example_strips import example_strips
from cell_assets.assets.inputs import ReportInputs
from cell_assets.assets.remodelling_pictures import independent_track_figures, remodelled_track_figures
from cell_assets.assets.track_pictures import division_trajectories, track_figures
from cell_assets.audit.counting import counted
from cell_assets.evaluation.left_out import what_is_left_out
from cell_assets.evaluation.manifest import read_manifest
from cell_assets.evaluation.studies.embedding_study import EmbeddingStudy, joint_umap
from cell_assets.evaluation.studies.held_out_cells import held_out_cells
from cell_assets.evaluation.studies.published_study import StudiedFolders, study_published
from cell_assets.evaluation.studies.study_parameters import StudyParameters
from cell_assets.ledger.records import NumberDraft
from cell_assets.methods.registry import load_method
from cell_assets.reporting.dynamics_report import dynamics_figures, onset_tables
from cell_assets.reporting.embedding_figures import Colouring, Projection
from cell_assets.reporting.embedding_report import EmbeddingPictures, embedding_figures
from cell_assets.reporting.feature_figures import feature_figures
from cell_assets.reporting.html import ReportContent
from cell_assets.reporting.independent_report import independent_figures
from cell_assets.reporting.moving_cells import dynamics_page
from cell_assets.reporting.remodelling_figures import remodelling_figures
from cell_assets.reporting.report import write_report


def write_embedding_report(
    out: Path, method: str, title: str, experiment: str, inputs: ReportInputs, parameters: StudyParameters
) -> tuple[NumberDraft, ...]:
    """Evaluate, draw and write; returns the numbers that the report states.

    Raises:
        BadInputError: plates differ in their time between frames, or what is tested on was learned from.
    """
    folders = StudiedFolders(
        embeddings={plate: read.folder for plate, read in inputs.embeddings.items()},
        raw={plate: read.folder for plate, read in inputs.raw.items()},
        manifest=inputs.manifest.folder,
        annotations={key: read.folder for key, read in inputs.annotations.items()},
        features={plate: read.folder for plate, read in inputs.features.items()},
        state_segmentation=None if inputs.state_segmentation is None else inputs.state_segmentation.folder,
    )
    study = study_published(folders, method, experiment, parameters)
    independent = study.independent
    dynamics = (*study.dynamics, *(independent.dynamics if independent else ()))
    manifest, frozen = read_manifest(inputs.manifest.folder)
    notes = load_method(method).training_notes(inputs.checkpoint.folder)
    history = pd.read_parquet(inputs.checkpoint.folder / "history.parquet")
    pictures = EmbeddingPictures(
        projections=_projections(study),
        colourings=_colourings(study),
        history=history,
        strips=example_strips(study, inputs),
    )
    trajectories = division_trajectories(study, pictures.projections)
    umap_of_both = _joint_umap(study, parameters.seed)
    ends = component_ends(
        study.correlations,
        study.embedded.cells,
        {key: read.folder for key, read in inputs.tables.items()},
        folders.raw,
    )
    write_report(
        out,
        ReportContent(
            title=f"{title.split(':')[0]} on {experiment}",
            subtitle=f"{counted(len({plate for plate, _ in inputs.tables}), 'plate')}, "
            f"{counted(len(study.embedded.cells), 'cell image')}, {manifest.split_statement()}",
            evaluation=replace(study.evaluation, notes=(*notes, *study.evaluation.notes)),
            left_out=what_is_left_out(manifest, frozen),
            figures=(
                *embedding_figures(study.evaluation, pictures),
                *feature_figures(study.correlations, ends),
                *dynamics_figures(study.dynamics),
                *track_figures(study, inputs, pictures.projections, trajectories),
                *remodelling_figures(study.remodelling),
                *remodelled_track_figures(study, inputs, pictures.projections),
                *independent_figures(study, umap_of_both),
                *independent_track_figures(study, inputs, umap_of_both),
            ),
            inputs=tuple(inputs.receipts()),
            parameters=parameters.model_dump(mode="json"),
            onsets=onset_tables(dynamics),
            further_tasks=independent.tasks if independent else (),
            suspicious_steps=None if study.disruptions is None else study.disruptions.suspicious,
            trajectories=trajectories,
            held_out_cells=held_out_cells(study),
            dynamics_page=dynamics_page(
                study, pictures.projections, f"Cells of {experiment} over time", umap_of_both
            ),
        ),
    )
    return study.evaluation.numbers


def _joint_umap(study: EmbeddingStudy, seed: int) -> Projection | None:
    """Of own cells, followed by those of independent plates; None where there are none, or too few."""
    if study.independent is None:
        return None
    xy = joint_umap(
        np.concatenate([study.embedded.features, study.independent.features]),
        pd.concat([study.embedded.cells, study.independent.cells], ignore_index=True),
        seed,
    )
    return None if xy is None else Projection("UMAP", xy, ("UMAP 1", "UMAP 2"))


def _projections(study: EmbeddingStudy) -> tuple[Projection, ...]:
    embedded = study.embedded
    views = [Projection("PCA", embedded.pca, ("PC 1", "PC 2"))]
    if embedded.umap is not None:
        views.append(Projection("UMAP", embedded.umap, ("UMAP 1", "UMAP 2")))
    return tuple(views)


def _colourings(study: EmbeddingStudy) -> tuple[Colouring, ...]:
    cells = study.embedded.cells
    colourings = [Colouring("time point", cells["t"].reset_index(drop=True))]
    if cells["condition"].nunique() > 1:
        colourings.append(Colouring("condition", cells["condition"].astype(str)))
    colourings += [
        Colouring(name.replace("_", " "), values)
        for name, values in study.annotations.items()
        if not pd.api.types.is_numeric_dtype(values)
    ]
    return tuple(colourings)
