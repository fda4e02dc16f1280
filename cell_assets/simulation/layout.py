"""Where wells and fields of view lie on the simulated plate, and what their names are."""

from collections.abc import Iterator
from dataclasses import dataclass
from string import ascii_uppercase

from cell_assets.simulation.parameters import ConditionParameters, SimulationParameters


@dataclass(frozen=True)
class SimulatedWell:
    """One well: row = replicate, column = condition, both counted from 0."""

    row: int
    column: int
    condition: ConditionParameters

    @property
    def row_name(self) -> str:
        return ascii_uppercase[self.row]

    @property
    def column_name(self) -> str:
        return str(self.column + 1)

    @property
    def name(self) -> str:
        """Well name as in OME-Zarr paths, for example `A/1`."""
        return f"{self.row_name}/{self.column_name}"


@dataclass(frozen=True)
class SimulatedField:
    """One field of view of a well."""

    well: SimulatedWell
    index: int

    @property
    def name(self) -> str:
        """Position name, for example `A/1/000`."""
        return f"{self.well.name}/{self.index:03d}"

    @property
    def file_stem(self) -> str:
        """Position name as part of a file name, for example `A_1_000`."""
        return self.name.replace("/", "_")

    @property
    def seed_key(self) -> tuple[int, int, int]:
        return (self.well.row, self.well.column, self.index)


def wells(parameters: SimulationParameters) -> tuple[SimulatedWell, ...]:
    """All wells, row by row."""
    return tuple(
        SimulatedWell(row, column, condition)
        for row in range(parameters.wells_per_condition)
        for column, condition in enumerate(parameters.conditions)
    )


def fields(parameters: SimulationParameters) -> Iterator[SimulatedField]:
    """All fields of view, well by well."""
    for well in wells(parameters):
        for index in range(parameters.fovs_per_well):
            yield SimulatedField(well, index)
