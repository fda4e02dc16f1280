"""Which doses are learned from, as the lower ones of a dose series are often left to be profiled alone.

CytoSummaryNet learns from 10 µM of each compound and profiles 3.33 µM as well (Fig. 4, Table 1).
"""

from enum import StrEnum
from typing import Self

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, model_validator

from cell_assets.errors import BadInputError
from cell_assets.evaluation.units import BoolArray

SAME_DOSE = 0.01
"""Relative: 3.33 and 3.3333 µM are one dose, written in two ways."""
_NANOMOLAR = {"M": 1e9, "mM": 1e6, "μM": 1e3, "uM": 1e3, "nM": 1.0, "pM": 1e-3}
_MOST_NAMED = 5


class LearnedDoses(StrEnum):
    """From which doses of a compound may be learned."""

    ALL = "all"
    """From every one."""
    HIGHEST = "highest of each compound"
    """From the highest that a plate to learn from has of it."""
    STATED = "stated"
    """From those of `stated_doses`."""


class StatedDose(BaseModel):
    """A dose and its unit."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    value: float = Field(ge=0)
    """In `unit`."""
    unit: str
    """As in the plate map, for example µM; of molar ones, pM to M, any will do."""


class DoseParameters(BaseModel):
    """Which doses are learned from; those of all others are profiled all the same."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    learned: LearnedDoses = LearnedDoses.ALL
    """Which."""
    stated_doses: tuple[StatedDose, ...] = ()
    """Where `learned` is `stated`: these, to within 1 %."""

    @model_validator(mode="after")
    def _state_what_is_meant(self) -> Self:
        if (self.learned is LearnedDoses.STATED) != bool(self.stated_doses):
            raise ValueError(
                f"learned is {self.learned.value!r} and stated_doses names {len(self.stated_doses)} doses; name doses "
                f"with learned={LearnedDoses.STATED.value!r}, and none with another"
            )
        return self

    def in_words(self) -> str:
        """For example `the highest of each compound`."""
        if self.learned is LearnedDoses.STATED:
            return " and ".join(f"{one.value:g} {one.unit}" for one in self.stated_doses)
        return f"the {self.learned.value}" if self.learned is LearnedDoses.HIGHEST else "any"


ALL_DOSES = DoseParameters()


def comparable_doses(dose: pd.Series, unit: pd.Series) -> pd.DataFrame:
    """`value` and `unit` of N doses, all molar ones in nM; both missing where there is no dose."""
    # A micro sign and a Greek mu look alike, and NFKC makes one of them.
    plain = unit.astype("string").str.normalize("NFKC").str.strip()
    factor = plain.map(_NANOMOLAR).astype("Float64")
    values = dose.astype("Float64")
    return pd.DataFrame(
        {"value": values * factor.fillna(1.0), "unit": plain.mask(factor.notna(), "nM").mask(values.isna())}
    )


def in_learned_doses(
    compound: pd.Series, doses: pd.DataFrame, learnable: BoolArray, parameters: DoseParameters
) -> BoolArray:
    """Which of N treated wells are of a dose that is learned from.

    Args:
        compound: (N,).
        doses: (N,) as `comparable_doses` has them, in the same order.
        learnable: (N,) wells of plates that are learned from, of which the highest dose is looked for.

    Raises:
        BadInputError: a well has no dose, a compound's doses have several units, or no well has a stated dose.
    """
    if parameters.learned is LearnedDoses.ALL:
        return np.ones(len(compound), np.bool_)
    names = compound.astype(str)
    value = doses["value"].to_numpy(np.float64, na_value=np.nan)
    _refuse_unknown(names, value)
    if parameters.learned is LearnedDoses.HIGHEST:
        units = doses["unit"].groupby(names.to_numpy()).agg(lambda of_one: sorted(set(of_one.fillna("none"))))
        for name, several in units.items():
            if len(several) > 1:
                raise BadInputError(
                    f"doses of {name} are in {' and '.join(several)}, of which none is the highest; state the doses to "
                    "learn from, or give all in one unit"
                )
        highest = pd.Series(np.where(learnable, value, -np.inf)).groupby(names.to_numpy()).transform("max")
        return _is_same(value, highest.to_numpy())
    found = np.zeros(len(names), np.bool_)
    for one in parameters.stated_doses:
        wanted = comparable_doses(pd.Series([one.value]), pd.Series([one.unit])).iloc[0]
        same = (doses["unit"] == wanted["unit"]).fillna(False).to_numpy(np.bool_)
        same &= _is_same(value, np.full(len(value), float(wanted["value"])))
        if not same.any():
            there = doses.drop_duplicates().sort_values(["unit", "value"]).itertuples(index=False)
            said = [f"{dose:g} {unit}" for dose, unit in there]
            more = f" and {len(said) - _MOST_NAMED} more" if len(said) > _MOST_NAMED else ""
            raise BadInputError(
                f"stated_doses: no well has {one.value:g} {one.unit}; there are {', '.join(said[:_MOST_NAMED])}{more}"
            )
        found |= same
    return found


def _is_same(value: np.ndarray, wanted: np.ndarray) -> BoolArray:
    return np.asarray(np.isclose(value, wanted, rtol=SAME_DOSE, atol=0.0))


def _refuse_unknown(names: pd.Series, value: np.ndarray) -> None:
    unknown = np.flatnonzero(np.isnan(value))
    if len(unknown):
        raise BadInputError(
            f"{len(unknown)} wells have no dose, such as one of {names.iloc[unknown[0]]}, so that nobody knows whether "
            "it may be learned from; say it in the plate map, or learn from all doses"
        )
