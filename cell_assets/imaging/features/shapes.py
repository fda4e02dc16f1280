"""Shape of each cell's label in the plane in which it is measured."""

import numpy as np
from skimage.measure import regionprops_table

from cell_assets.imaging.features.labelled_plane import FloatArray, LabelledPlane

SHAPE_COLUMNS = tuple(
    f"Nuclei_AreaShape_{name}"
    for name in (
        "Area",
        "Perimeter",
        "MajorAxisLength",
        "MinorAxisLength",
        "EquivalentDiameter",
        "Eccentricity",
        "FormFactor",
        "Solidity",
    )
)

_NEEDS_AN_AXIS = ("MajorAxisLength", "MinorAxisLength", "Eccentricity")


def shapes(plane: LabelledPlane, pixel_um: tuple[float, float]) -> dict[str, FloatArray]:
    """SHAPE_COLUMNS, `(n,)` each, as CellProfiler defines them and scikit-image computes them.

    Area in µm²; Perimeter, MajorAxisLength, MinorAxisLength and EquivalentDiameter in µm; Eccentricity,
    FormFactor (4 pi area / perimeter²; above 1 for labels of few pixels, whose perimeter is underestimated) and
    Solidity without unit. Missing (NaN): what needs a perimeter, where pixels are not square or the perimeter is 0;
    axes and Eccentricity of a single pixel, which has none.

    Args:
        pixel_um: side of a pixel, `(y, x)`.
    """
    found = regionprops_table(
        plane.own,
        properties=(
            "area", "axis_major_length", "axis_minor_length", "equivalent_diameter_area", "eccentricity", "solidity",
        ),
        spacing=pixel_um,
    )  # fmt: skip
    area = found["area"].astype(np.float64)
    perimeter = _perimeter(plane, pixel_um)
    values = {
        "Area": area,
        "Perimeter": perimeter,
        "MajorAxisLength": found["axis_major_length"],
        "MinorAxisLength": found["axis_minor_length"],
        "EquivalentDiameter": found["equivalent_diameter_area"],
        "Eccentricity": found["eccentricity"],
        "FormFactor": 4 * np.pi * area / perimeter**2,
        "Solidity": found["solidity"],
    }
    single = np.bincount(plane.cell, minlength=plane.n) < 2
    for name in _NEEDS_AN_AXIS:
        values[name] = np.where(single, np.nan, values[name])
    return {f"Nuclei_AreaShape_{name}": np.asarray(value, np.float64) for name, value in values.items()}


def _perimeter(plane: LabelledPlane, pixel_um: tuple[float, float]) -> FloatArray:
    if not np.isclose(*pixel_um, rtol=1e-3):
        return np.full(plane.n, np.nan)
    perimeter = regionprops_table(plane.own, properties=("perimeter",))["perimeter"] * pixel_um[1]
    return np.where(perimeter > 0, perimeter, np.nan)
