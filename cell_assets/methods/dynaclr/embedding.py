"""Applying a checkpoint to patch tables: one AnnData of features, projections and reductions."""

import json
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from cell_assets.errors import BadInputError
from cell_assets.evaluation.manifest import EXCLUDED, FrozenCells
from cell_assets.evaluation.umap_axes import UmapAxes, umap_axes
from cell_assets.methods.contract import EmbeddingResult, Progress, ProgressSink, TrainingTable
from cell_assets.methods.dynaclr.augmentation import center_crop, normalise
from cell_assets.methods.dynaclr.checkpoint import CheckpointConfig, load_checkpoint, load_config
from cell_assets.methods.dynaclr.embedding_parameters import EmbeddingParameters
from cell_assets.methods.dynaclr.network import DynaclrNetwork
from cell_assets.methods.dynaclr.patches import PatchSource, open_tables
from cell_assets.methods.execution import prepared

EMBEDDINGS_FILE = "embeddings.zarr"
INDEX_COLUMNS = (
    "plate",
    "fov_name",
    "track_id",
    "t",
    "id",
    "parent_track_id",
    "parent_id",
    "lineage_root",
    "z",
    "y",
    "x",
)

FloatArray = NDArray[np.float32]


def embed(
    checkpoint: Path,
    tables: Sequence[TrainingTable],
    manifest: FrozenCells,
    out: Path,
    provenance: Mapping[str, str],
    parameters: EmbeddingParameters | None = None,
    progress: ProgressSink | None = None,
) -> EmbeddingResult:
    """Writes `embeddings.zarr` into the existing folder `out`, one row for every cell image that is not left out.

    `X` holds the features h (float32), `obsm` X_projection, X_pca and X_umap, `obs` the tracks' columns, the
    conditions and `split`. PCA and UMAP are fitted on these very cells: their axes do not compare between
    plates. UMAP is for looking at; it is left out where cells are too few, and `uns["umap"]` says so. Where every
    cell image is left out there are no rows, and no PCA.

    Args:
        manifest: gives every cell image its split; of tracks that it does not list, `unlisted`.
        provenance: digests by name, for example of the checkpoint, stored in `uns`.

    Raises:
        BadInputError: the checkpoint is not understood, or the tables lack its channels or have another shape.
    """
    source = open_as_trained(tables, manifest, load_config(checkpoint))
    return embed_source(checkpoint, source, manifest, out, provenance, parameters, progress)


def embed_source(
    checkpoint: Path,
    source: PatchSource,
    manifest: FrozenCells,
    out: Path,
    provenance: Mapping[str, str],
    parameters: EmbeddingParameters | None = None,
    progress: ProgressSink | None = None,
) -> EmbeddingResult:
    """`embed` on patches that are already open."""
    parameters = parameters or EmbeddingParameters()
    network, config = load_checkpoint(checkpoint)
    source = as_trained(source, config)
    cells = _cells(source)
    if not len(cells):
        raise BadInputError("the patch tables hold no cell to embed; look at their tracks")
    cells = cells.assign(split=manifest.split_of(cells))
    cells = cells[cells["split"] != EXCLUDED].reset_index(drop=True)
    obs = _observations(cells.drop(columns="table"))
    table, row = (cells[name].to_numpy(np.int64) for name in ("table", "row"))
    with prepared(parameters.device, parameters.threads, parameters.seed):
        features, projections = _encode(network, source, table, row, config, parameters, progress)
    adata = ad.AnnData(X=features, obs=obs)
    adata.var_names = [f"h{i}" for i in range(features.shape[1])]
    adata.obsm["X_projection"] = projections
    umap = UmapAxes(
        None, "every cell image is left out by thresholds of quality, so there is nothing to embed"
    )
    if len(obs):
        components = min(parameters.pca_components, *features.shape)
        adata.obsm["X_pca"] = PCA(components, svd_solver="full").fit_transform(features).astype(np.float32)
        umap = umap_axes(
            adata.obsm["X_pca"],
            seed=parameters.seed,
            neighbors=parameters.umap_neighbors,
            fit_cells=parameters.umap_fit_cells,
        )
    if umap.xy is not None:
        adata.obsm["X_umap"] = umap.xy
    adata.uns = {
        "format": "cell_assets.embeddings",
        "version": 1,
        "method": "dynaclr",
        "parameters": parameters.model_dump_json(),
        "provenance": dict(sorted(provenance.items())),
        "channels": json.dumps(list(source.channel_names)),
        "umap": umap.note,
    }
    with warnings.catch_warnings(), ad.settings.override(zarr_write_format=3, auto_shard_zarr_v3=False):
        # AnnData consolidates metadata, which Zarr 3 readers without that extension simply ignore.
        warnings.filterwarnings("ignore", "Consolidated metadata", category=UserWarning)
        adata.write_zarr(out / EMBEDDINGS_FILE)
    messages = () if umap.xy is not None else (umap.note,)
    return EmbeddingResult(len(obs), features.shape[1], messages)


def open_as_trained(
    tables: Sequence[TrainingTable], manifest: FrozenCells, config: CheckpointConfig
) -> PatchSource:
    """The tables' patches in the channels that the network takes.

    Raises:
        BadInputError: the tables lack its channels or have another shape.
    """
    channels = () if config.network.kinds else [channel.name for channel in config.channels]
    return as_trained(open_tables(tables, manifest, channels), config)


def as_trained(source: PatchSource, config: CheckpointConfig) -> PatchSource:
    """`source` in the channels that the network takes: those it was trained on or, where its stem allows and one of
    them is not stored, all of the kinds it was trained on."""
    names = tuple(channel.name for channel in config.channels)
    known = config.network.kinds
    if known and not set(names) <= set(source.channel_names):
        stored = zip(source.channel_names, source.kinds, strict=True)
        names = tuple(name for name, kind in stored if kind in known)
        if not names:
            raise BadInputError(
                f"the checkpoint was trained on {' and '.join(known)} channels and the patch tables hold none, but "
                f"{', '.join(source.channel_names)}; train on a plate that has such a channel too"
            )
    if not set(names) <= set(source.channel_names):
        raise BadInputError(
            f"the checkpoint was trained on the channels {', '.join(names)} and the patch tables hold "
            f"{', '.join(source.channel_names)}; choose tables that hold all of the former"
        )
    source = source.select(names)
    if source.patch_shape[0] != config.network.depth:
        raise BadInputError(
            f"the checkpoint was trained on patches of {config.network.depth} slices and the patch tables "
            f"hold {source.patch_shape[0]}; make the tables again with that depth"
        )
    source.require_side(config.parameters.patch_side_px)
    return source


def _cells(source: PatchSource) -> pd.DataFrame:
    """One row per cell in the order of tables and rows; columns that only some tables have are kept."""
    frames = [
        table.cells.sort_values("row", kind="stable").assign(
            table=number, plate=table.plate, fov_name=table.fov_name
        )
        for number, table in enumerate(source.tables)
    ]
    return pd.concat(frames, ignore_index=True)


def _observations(cells: pd.DataFrame) -> pd.DataFrame:
    """`cells` as AnnData's `obs`: index columns first, a name for every row."""
    missing = [name for name in INDEX_COLUMNS if name not in cells.columns]
    if missing:
        raise BadInputError(f"the patch tables lack the column {missing[0]!r}; make them again")
    rest = [name for name in cells.columns if name not in INDEX_COLUMNS]
    names = cells["plate"] + "/" + cells["fov_name"] + "/" + cells["track_id"].astype(str)
    obs = cells[[*INDEX_COLUMNS, *rest]].apply(_storable)
    obs.index = pd.Index((names + "/" + cells["t"].astype(str)).astype(object))
    return obs


def _storable(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """Gives texts and columns with gaps (a condition that some wells lack) a type that AnnData can write."""
    present = column.dropna()
    if pd.api.types.is_bool_dtype(column.dtype) or (
        len(present) and all(isinstance(value, bool | np.bool_) for value in present)
    ):
        return column.astype("boolean" if column.hasnans else bool)
    if pd.api.types.is_integer_dtype(column.dtype) and not column.hasnans:
        return column.astype(np.int64)
    if pd.api.types.is_numeric_dtype(column.dtype) or (
        len(present) and all(isinstance(value, int | float | np.number) for value in present)
    ):
        return column.astype("Float64").astype(np.float64)
    texts = column.astype("string").astype(object)
    return pd.Series(pd.Categorical(texts, categories=sorted(set(texts.dropna()))), index=column.index)


def _encode(
    network: DynaclrNetwork,
    source: PatchSource,
    table: NDArray[np.int64],
    row: NDArray[np.int64],
    config: CheckpointConfig,
    parameters: EmbeddingParameters,
    progress: ProgressSink | None,
) -> tuple[FloatArray, FloatArray]:
    """Features and projections of (table, row) cells: middle of the patch, no augmentation, evaluation mode."""
    device = torch.device(parameters.device.value)
    network = network.to(device).eval()
    codes = network.kind_codes(source.kinds)
    kinds = None if codes is None else codes.to(device)
    features = np.empty((len(row), config.network.widths[-1]), np.float32)
    projections = np.empty((len(row), config.network.projection), np.float32)
    started = time.monotonic()
    with torch.inference_mode():
        for start in range(0, len(row), parameters.batch_size):
            part = slice(start, start + parameters.batch_size)
            read = source.read(table[part], row[part])
            patches = center_crop(torch.from_numpy(read.patches).to(device), config.parameters.patch_side_px)
            offset, scale = torch.from_numpy(read.offset).to(device), torch.from_numpy(read.scale).to(device)
            encoding = network(normalise(patches, offset, scale), kinds)
            features[part] = encoding.features.cpu().numpy()
            projections[part] = encoding.projections.cpu().numpy()
            if progress is not None:
                done = min(part.stop, len(row))
                rate = done / max(time.monotonic() - started, 1e-9)
                progress(Progress(done, len(row), "cells", rate, (len(row) - done) / rate))
    return features, projections
