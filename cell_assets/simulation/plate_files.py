"""The simulated plate on disk: OME-Zarr plate with its label images, plate map, tables, and what made them."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from cell_assets.imaging.ome_zarr_labels import create_label_image, label_path
from cell_assets.imaging.ome_zarr_plate import ImageWriter, NewImage, Spacing, mark_simulated
from cell_assets.imaging.ome_zarr_plate import create_plate as create_ome_zarr
from cell_assets.simulation.field_movie import FieldMovie
from cell_assets.simulation.layout import SimulatedField, fields, wells
from cell_assets.simulation.parameters import SimulationParameters
from cell_assets.simulation.truth import FieldTruth

FORMAT_NAME, FORMAT_VERSION = "cell_assets.simulated_plate", "1"
LABELS = "nuclei"
"""Name of the label image of every field."""

PLATE = Path("plate.zarr")
PLATE_MAP, STATES, TRACKS, DESCRIPTION = "plate_map.csv", "states.csv", "tracks", "simulation.json"


def create_plate(folder: Path, parameters: SimulationParameters) -> None:
    """Create the plate and its label images with all positions empty, so that workers only add chunks."""
    _create_images(folder / PLATE, parameters)
    mark_simulated(folder / PLATE)
    if parameters.write_true_labels:
        for place in fields(parameters):
            create_label_image(folder / PLATE, place.name, LABELS, np.dtype(np.uint16))


def write_movie(folder: Path, parameters: SimulationParameters, place: SimulatedField) -> FieldTruth:
    """Draw one field, write its frames and its track table, and return its truth."""
    movie = FieldMovie(parameters, place)
    pixels = ImageWriter(folder / PLATE, place.name)
    labels = None
    if parameters.write_true_labels:
        labels = ImageWriter(folder / PLATE, label_path(place.name, LABELS))
    for frame in movie.frames():
        for channel, volume in enumerate(frame.pixels):
            pixels.write(frame.t, channel, volume)
        if labels is not None:
            labels.write(frame.t, 0, frame.labels)
    _write_csv(movie.truth.tracks, folder / TRACKS / f"{place.file_stem}.csv")
    return movie.truth


def write_tables(folder: Path, parameters: SimulationParameters, truths: tuple[FieldTruth, ...]) -> None:
    """Write the plate map, the states of all fields in plate order, and the description of the simulation."""
    _write_csv(_plate_map(parameters), folder / PLATE_MAP, decimals=None)
    states = pd.concat([truth.states for truth in truths], ignore_index=True)
    _write_csv(states, folder / STATES)
    description = {
        "format": FORMAT_NAME,
        "version": FORMAT_VERSION,
        "simulated": True,
        "note": "No cell was imaged: pixels, tracks and states are computed from parameters and seed.",
        "seed": parameters.seed,
        "parameters": parameters.model_dump(mode="json"),
        "axes": ["T", "C", "Z", "Y", "X"],
        "channel_names": list(parameters.channel_names),
        "voxel_size_um": dict(zip("zyx", parameters.voxel_um_zyx, strict=True)),
        "interval_min": parameters.interval_min if parameters.time_points > 1 else None,
        "positions": [place.name for place in fields(parameters)],
        "n_tracks": sum(truth.n_tracks for truth in truths),
        "n_divisions": sum(truth.n_divisions for truth in truths),
        "n_cell_timepoints": len(states),
    }
    (folder / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")


def _create_images(path: Path, parameters: SimulationParameters) -> None:
    """Create an OME-Zarr plate of empty u16 arrays (T, C, Z, Y, X), one per field."""
    z_um, y_um, x_um = parameters.voxel_um_zyx
    interval_min = parameters.interval_min if parameters.time_points > 1 else None
    shape = (parameters.time_points, len(parameters.channel_names), *parameters.shape_zyx)
    path.parent.mkdir(parents=True, exist_ok=True)
    create_ome_zarr(
        path,
        parameters.channel_names,
        Spacing(z_um, y_um, x_um, interval_min),
        [NewImage(place.name, shape, np.dtype(np.uint16)) for place in fields(parameters)],
    )


def _plate_map(parameters: SimulationParameters) -> pd.DataFrame:
    """One row per well in the columns that ingest reads."""
    return pd.DataFrame(
        [
            {
                "well": well.name,
                "virus": well.condition.virus,
                "moi": well.condition.moi,
                "dose_unit": "MOI",
                "moa": "",
                "is_control": str(well.condition.is_control).lower(),
            }
            for well in wells(parameters)
        ]
    )


def _write_csv(table: pd.DataFrame, path: Path, decimals: int | None = 4) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(
        path, index=False, float_format=None if decimals is None else f"%.{decimals}f", lineterminator="\n"
    )
