"""Rows A to C of a real 96-well plate with doses and controls, as an acquisition."""

import csv
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from cell_assets.imaging.acquisition import Acquisition, open_acquisition
from cell_assets.imaging.ingest import prepare_ingest
from cell_assets.imaging.ingest_checks import IngestOptions
from cell_assets_tests.imaging.source_plates import write_zarr
from cell_assets_tests.shared_data import shared_data

CHANNELS = ("FKHR-GFP", "DNA")


def read_wells() -> dict[str, NDArray[np.uint8]]:
    """(2, 640, 640) of every well, by `row/column`."""
    folder = shared_data("sbs_plate")
    wells = {}
    for file in sorted(folder.glob("Channel1-*.tif")):
        _, index, row, column = file.stem.split("-")
        other = folder / f"Channel2-{index}-{row}-{column}.tif"
        wells[f"{row}/{int(column)}"] = np.stack([tifffile.imread(file), tifffile.imread(other)])
    return wells


def controls() -> tuple[list[str], list[str]]:
    """Names of negative and positive control wells, from the plate's own table."""
    with (shared_data("sbs_plate") / "1049_Metadata.csv").open(encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    negative, positive = (
        [f"{row['Row']}/{int(row['Column'])}" for row in rows if row["SBS_Controls"] == kind]
        for kind in ("-1", "1")
    )
    return negative, positive


def acquire_sbs_plate(folder: Path) -> Acquisition:
    """The plate ingested into `folder`, with its controls in the plate map; pixel size is stated, not known."""
    negative, positive = controls()
    plate_map = folder / "plate_map.csv"
    lines = [f"{well},vehicle,true" for well in negative] + [f"{well},drug,true" for well in positive]
    plate_map.write_text("\n".join(["well,compound,is_control", *lines]) + "\n")
    images = {f"{well}/0": pixels[None, :, None] for well, pixels in read_wells().items()}
    source = write_zarr(folder / "source.zarr", images, channel_names=CHANNELS, chunks=(1, 1, 1, 640, 640))
    prepare_ingest(source, IngestOptions(plate_map=plate_map)).write(folder / "acquisition")
    return open_acquisition(folder / "acquisition")
