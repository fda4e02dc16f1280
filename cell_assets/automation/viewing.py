"""`cell-assets napari`: what stands of one FOV, as layers for a viewer."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from cell_assets.assets.annotations import tracked_cells
from cell_assets.assets.corrections import refuse_absent
from cell_assets.assets.inputs import outdated_annotations
from cell_assets.assets.partitions import fov_key, representation_key
from cell_assets.assets.recipes import AssetName, embeddings_name
from cell_assets.errors import BadInputError
from cell_assets.evaluation.studies.embedding_study import read_embeddings
from cell_assets.imaging.acquisition import open_acquisition
from cell_assets.imaging.acquisition_views import field_of_view
from cell_assets.imaging.annotation_files import PROJECTIONS
from cell_assets.imaging.annotation_history import read_annotation_history
from cell_assets.imaging.napari_layers import (
    Layer,
    annotation_layer,
    embedding_layer,
    image_layers,
    label_layer,
    track_layer,
)
from cell_assets.imaging.tracking import open_track_labels, read_tracks
from cell_assets.ledger.records import ArtifactState
from cell_assets.methods.registry import CELL_METHODS
from cell_assets.store.store import Store


@dataclass(frozen=True)
class FovView:
    """What a viewer shows of one FOV."""

    title: str
    layers: tuple[Layer, ...]
    absent: tuple[str, ...]
    """One sentence for each layer that is not there."""


def fov_view(store: Store, experiment: str, plate: str, position: str) -> FovView:
    """The channels, cells and tracks that stand, annotations, and every method's newest embeddings of `experiment`.

    Raises:
        NotFoundError: there is no such position, or it has no tracks yet.
    """
    refuse_absent(store.ledger, plate, position)
    raw, _ = store.read(AssetName.RAW_ACQUISITION, plate)
    key = fov_key(plate, position)
    cells = tracked_cells(store, key)
    acquisition, tracks = open_acquisition(raw), read_tracks(cells.tracks.folder)
    fov = field_of_view(acquisition.info, position)
    layers = image_layers(acquisition, fov)
    layers.append(label_layer(fov, open_track_labels(cells.tracks.folder, cells.segmentation.folder), tracks))
    layers.append(track_layer(fov, tracks))
    absent: list[str] = []
    for entry in CELL_METHODS:
        name = embeddings_name(entry.name)
        newest = store.ledger.latest(name, representation_key(experiment, plate), ArtifactState.PRESENT)
        if newest is None:
            absent.append(f"there are no {name} of plate {plate} by a model of {experiment} yet")
            continue
        try:
            embedded = _embedded_cells(store.fetch(newest.artifact), position)
            layers.append(embedding_layer(fov, embedded, tracks, name))
        except BadInputError as refusal:
            absent.append(str(refusal))
    annotations = store.ledger.latest(AssetName.ANNOTATIONS, key, ArtifactState.PRESENT)
    if annotations is None:
        absent.append("nobody annotated this FOV yet")
    else:
        history = read_annotation_history(store.fetch(annotations.artifact))
        if outdated_annotations(store, [key]):
            history = history.carried_to(tracks)
        layers.append(annotation_layer(fov, history))
    return FovView(f"{experiment} {key}", tuple(layers), tuple(absent))


def _embedded_cells(folder: Path, position: str) -> pd.DataFrame:
    """`track_id, t, split, condition` and `PROJECTIONS` of the embedded cells of one position of a plate."""
    embedded = read_embeddings([folder])
    table = embedded.cells[["fov_name", "track_id", "t", "split", "condition"]].copy()
    table[list(PROJECTIONS[:2])] = embedded.pca[:, :2]
    if embedded.umap is not None:
        table[list(PROJECTIONS[2:])] = embedded.umap
    here = table[table["fov_name"] == position].drop(columns="fov_name")
    return here.astype({"split": str, "condition": str})
