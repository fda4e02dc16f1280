"""The metadata of a plate of many FOVs, from that of a plate which holds one FOV of each kind.

iohub writes the whole plate's metadata again for every well that it creates: 18 ms a FOV for 48 wells, and more
for more, when copying the pixels of a FOV of 8 MiB takes 25. What it writes for one FOV is the same for all of the
same kind, so it writes one of each, and the others are copies.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

_METADATA = "zarr.json"

Json = dict[str, Any]
"""A `zarr.json`."""


def complete_plate(path: Path, templates: Mapping[str, str]) -> None:
    """Make of a plate of some FOVs the plate of all, none with pixels.

    Args:
        templates: for every FOV, `row/column/fov` in the order in which the plate shall list them, the one of its
            kind that the plate has already; for those, itself.
    """
    rows = tuple(dict.fromkeys(name.split("/")[0] for name in templates))
    columns = tuple(dict.fromkeys(name.split("/")[1] for name in templates))
    wells: dict[str, list[str]] = {}
    for name in templates:
        well, _, fov = name.rpartition("/")
        wells.setdefault(well, []).append(fov)
    of_plate = _read(path)
    plate = of_plate["attributes"]["ome"]["plate"]
    template_well = plate["wells"][0]["path"]
    plate["rows"] = [{"name": row} for row in rows]
    plate["columns"] = [{"name": column} for column in columns]
    plate["wells"] = [_well_entry(well, rows, columns) for well in wells]
    of_row, of_well = _read(path / template_well.split("/")[0]), _read(path / template_well)
    for row in rows:
        _write(path / row, of_row)
    for well, fovs in wells.items():
        _write(path / well, _with_images(of_well, fovs))
    for name, template in templates.items():
        if name != template:
            _copy_metadata(path / template, path / name)
    _write(path, of_plate)


def _well_entry(well: str, rows: tuple[str, ...], columns: tuple[str, ...]) -> Json:
    row, column = well.split("/")
    return {"path": well, "rowIndex": rows.index(row), "columnIndex": columns.index(column)}


def _with_images(of_well: Json, fovs: Iterable[str]) -> Json:
    ome = of_well["attributes"]["ome"]
    (*_, image) = ome["well"]["images"]
    well = {**ome["well"], "images": [{**image, "path": fov} for fov in fovs]}
    return {**of_well, "attributes": {"ome": {**ome, "well": well}}}


def _copy_metadata(template: Path, position: Path) -> None:
    for file in template.rglob(_METADATA):
        copy = position / file.relative_to(template)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(file.read_bytes())


def _read(folder: Path) -> Json:
    metadata: Json = json.loads((folder / _METADATA).read_text(encoding="utf-8"))
    return metadata


def _write(folder: Path, metadata: Json) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _METADATA).write_text(json.dumps(metadata, indent=2), encoding="utf-8")
