"""What a network finds least relevant, as a rule that people can read and any program can apply.

It needs no network, so that mean profiling can use it on plates of its own.
"""

from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from cell_assets.errors import BadInputError
from cell_assets.evaluation.units import BoolArray, FloatArray
from cell_assets.imaging.feature_tables.feature_table import CELLS_PARQUET
from cell_assets.imaging.record_files import read_record


class Condition(BaseModel):
    """A bound on one feature."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    feature: str
    """Name of a column of the cells' table."""
    side: Literal["<=", ">"]
    """Of the threshold, on which a cell's value lies."""
    threshold: float
    """In the feature's own unit."""

    def __str__(self) -> str:
        return f"{self.feature} {self.side} {self.threshold:.3g}"

    def holds(self, values: NDArray[np.floating]) -> BoolArray:
        """For which values (N,); for none that is missing."""
        bound = np.float64(self.threshold)
        return np.asarray(values <= bound if self.side == "<=" else values > bound)


class QualityRule(BaseModel):
    """Which cells to leave out of a well's profile."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    format: Literal["cell_assets.quality_rule"] = "cell_assets.quality_rule"
    version: Literal[1] = 1
    scale: Literal["standard deviations from the mean of all cells of the plate"] = (
        "standard deviations from the mean of all cells of the plate"
    )
    """Of thresholds, and of the features that the rule is applied to."""
    clauses: tuple[tuple[Condition, ...], ...]
    """A cell is left out when all conditions of one clause hold; without a clause all cells stay."""

    @property
    def sentence(self) -> str:
        """The rule for a report."""
        if not self.clauses:
            return "Every cell stays: no plain rule foretells the least relevant ones."
        said = ", and cells with ".join(" and ".join(map(str, clause)) for clause in self.clauses)
        return f"Leave out cells with {said} ({self.scale})."

    @property
    def features(self) -> tuple[str, ...]:
        """Those that it looks at."""
        return tuple(dict.fromkeys(one.feature for clause in self.clauses for one in clause))

    def leaves_out(self, features: NDArray[np.floating], names: tuple[str, ...]) -> BoolArray:
        """Which cells (N,) it leaves out; a value that is missing fulfils no condition.

        Args:
            features: (N, D), of zero mean and unit variance over all cells of each plate; may be a memory map.
            names: D names.

        Raises:
            BadInputError: the rule looks at a feature that is none of these.
        """
        missing = [name for name in self.features if name not in names]
        if missing:
            raise BadInputError(
                f"the rule looks at {missing[0]}, which these cells do not have; measure it, or distil a rule from "
                "features that they have"
            )
        values = {name: np.asarray(features[:, names.index(name)]) for name in self.features}
        found = np.zeros(len(features), bool)
        for clause in self.clauses:
            found |= np.logical_and.reduce([one.holds(values[one.feature]) for one in clause])
        return found


def standardised(values: NDArray[np.floating], mean: FloatArray, sd: FloatArray) -> NDArray[np.float32]:
    """(N, D) in standard deviations (D,) from the mean (D,), as rules want it; 0 where all cells are the same."""
    around = values - mean
    return np.divide(around, sd, out=np.zeros_like(around), where=sd > 0).astype(np.float32)


def cells_left_out(rule: QualityRule, folder: Path, usable: BoolArray) -> BoolArray:
    """Which cells (N,) of the feature table in `folder` the rule leaves out.

    Args:
        usable: (N,) the cells of the plate, around whose mean and in whose spread thresholds are.

    Raises:
        BadInputError: the rule looks at a feature that is not in the table.
    """
    with pq.ParquetFile(folder / CELLS_PARQUET, pre_buffer=False) as file:
        there = [name for name in rule.features if name in file.schema_arrow.names]
        table = file.read(columns=there)
    values = np.full((len(usable), len(there)), np.nan)
    for column, name in enumerate(there):
        values[:, column] = table.column(name).to_numpy()
    own = values[usable]
    return rule.leaves_out(standardised(values, np.nanmean(own, 0), np.nanstd(own, 0)), tuple(there))


def write_quality_rule(rule: QualityRule, file: Path) -> None:
    """As JSON."""
    file.write_text(rule.model_dump_json(indent=1) + "\n", encoding="utf-8")


def read_quality_rule(file: Path) -> QualityRule:
    """From JSON.

    Raises:
        BadInputError: it is not there, or no rule.
    """
    return read_record(file, QualityRule, "a report on profiles", "a rule")
