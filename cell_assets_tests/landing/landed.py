"""Plates as a microscope's computer leaves them in a landing folder."""

import hashlib
import shutil
from pathlib import Path

import yaml

from cell_assets_tests.end_to_end.lab import PlateFolder


def plate_yaml(folder: Path, experiment: str, plate: str, **fields: object) -> Path:
    """Write a `plate.yaml`."""
    file = folder / "plate.yaml"
    file.write_text(yaml.safe_dump({"experiment": experiment, "plate": plate, **fields}))
    return file


def land(plate: PlateFolder, folder: Path, experiment: str, name: str, **fields: object) -> Path:
    """Copy a simulated plate into a landing folder in one go; returns its folder."""
    shutil.copytree(plate.folder, folder)
    given = {"source": "plate.zarr", "plate_map": "plate_map.csv", "tracks": "tracks", "states": "states.csv"}
    plate_yaml(folder, experiment, name, **given, **fields)
    return folder


def write_checksums(folder: Path, name: str = "checksums.txt") -> str:
    """A list of SHA-256 of every file below a folder; returns its name."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder)}\n" for path in files
    ]
    (folder / name).write_text("".join(lines))
    return name
