"""What each well of a table was treated with: from columns of the table itself, or from a plate map."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from pydantic import BaseModel, ConfigDict

from cell_assets.errors import BadInputError
from cell_assets.imaging.feature_tables.columns import WELL
from cell_assets.imaging.plate_map import PerturbationType, read_plate_map
from cell_assets.ledger.records import WellDraft


class TreatmentColumns(BaseModel):
    """Which columns of a table say how a cell's well was treated."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    treatment: str | None = None
    """Column of the compound, gene, guide or virus. Default: no column says it."""
    kind: PerturbationType = PerturbationType.COMPOUND
    """What the treatment is."""
    dose: str | None = None
    """Column of the dose. Default: no column says it."""
    dose_unit: str | None = None
    """Unit of that column, for example µM."""
    moa: str | None = None
    """Column of the mechanism of action. Default: no column says it."""
    controls: tuple[str, ...] = ()
    """Treatments that are negative controls, for example DMSO."""


def treated_wells(
    known: pd.DataFrame, columns: TreatmentColumns, plate_map: Path | None, source: object
) -> tuple[WellDraft, ...]:
    """The wells of one plate, in order of their names.

    Args:
        known: one row per cell or well with `Metadata_Well` and the columns.
        plate_map: instead of columns; wells that it lists beside those of the table are not there.

    Raises:
        BadInputError: a plate map and columns are both given, a column is missing, a dose has no unit or is no number,
            cells of one well differ in a column, or the plate map cannot be used.
    """
    wells = sorted(set(known[WELL].astype(str)))
    if plate_map is not None:
        if columns.treatment is not None:
            raise BadInputError(
                f"{source}: treatments are given by the plate map {plate_map} and by the column {columns.treatment}; "
                "keep one"
            )
        return read_plate_map(plate_map, wells)
    if columns.dose is not None and columns.dose_unit is None:
        raise BadInputError(
            f"{source}: the dose in column {columns.dose} has no unit; state it, for example µM"
        )
    values = {
        name: _by_well(known, column, source)
        for name, column in (("treatment", columns.treatment), ("dose", columns.dose), ("moa", columns.moa))
        if column is not None
    }
    return tuple(_draft(well, values, columns, source) for well in wells)


def _by_well(known: pd.DataFrame, column: str, source: object) -> pd.Series:
    if column not in known.columns:
        there = ", ".join(sorted(str(name) for name in known.columns)[:12])
        raise BadInputError(f"{source}: has no column {column}, but {there}; name one of these")
    groups = known.groupby(known[WELL].astype(str))[column]
    several = groups.nunique(dropna=False) > 1
    if several.any():
        well = str(several[several].index[0])
        said = ", ".join(map(repr, known.loc[known[WELL].astype(str) == well, column].unique()[:3]))
        raise BadInputError(f"{source}: well {well} has several values of {column} ({said}); a well has one")
    return groups.first()


def _draft(well: str, values: dict[str, pd.Series], columns: TreatmentColumns, source: object) -> WellDraft:
    treatment, moa = (_text(values, name, well) for name in ("treatment", "moa"))
    dose = None
    if "dose" in values and pd.notna(values["dose"][well]):
        try:
            dose = float(values["dose"][well])
        except (TypeError, ValueError) as error:
            raise BadInputError(
                f"{source}: well {well} has the {columns.dose} {values['dose'][well]!r}; give a number"
            ) from error
    return WellDraft(
        name=well,
        perturbation_type=None if treatment is None else columns.kind.value,
        perturbation=treatment,
        dose=dose,
        dose_unit=None if dose is None else columns.dose_unit,
        moa=moa,
        is_control=None if treatment is None else treatment in columns.controls,
    )


def _text(values: dict[str, pd.Series], name: str, well: str) -> str | None:
    if name not in values or pd.isna(values[name][well]):
        return None
    return str(values[name][well])


def refuse_unknown_controls(wells: Sequence[WellDraft], columns: TreatmentColumns, source: object) -> None:
    """A control that no well got is a slip of the pen, which would let the true ones be learned from.

    Raises:
        BadInputError: there is one.
    """
    treatments = {one.perturbation for one in wells}
    unknown = [name for name in columns.controls if name not in treatments]
    if unknown:
        raise BadInputError(
            f"{source}: no well was treated with the control {unknown[0]}; name controls as column {columns.treatment} "
            "does"
        )
