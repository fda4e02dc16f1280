"""Whether what was held out of learning was learned from all the same: by compound, plate, dose, and by the cells.

Names alone do not tell: a compound spelled in two ways is one, 1000 nM is 1 µM, and a well whose cells come twice is
one well. That is named wherever the two lie, since inside a split it is a replicate that is none.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cell_assets.errors import BadInputError
from cell_assets.evaluation.profiling.learned_doses import SAME_DOSE, comparable_doses
from cell_assets.evaluation.profiling.well_manifest import (
    COMPOUND,
    COMPOUND_SPLIT,
    DIGEST,
    DOSE,
    DOSE_SPLIT,
    DOSE_UNIT,
    PLATE_SPLIT,
    DoseSplit,
    PlateSplit,
    learned_from,
)
from cell_assets.evaluation.splits import Split
from cell_assets.evaluation.units import BoolArray
from cell_assets.imaging.feature_tables.columns import PLATE, WELL

_NAMED = 5


@dataclass(frozen=True)
class WellLeakage:
    """What an audit of a well manifest found."""

    n_held_out_compounds: int
    n_held_out_plates: int
    """Those that test; validation plates choose the epoch."""
    n_held_out_doses: int
    """Each of a compound."""
    compounds: tuple[str, ...]
    """Held-out ones that are learned from under the same name, or one that differs in case or spaces."""
    plates: tuple[str, ...]
    """Held-out ones of which a well is learned from."""
    validation_plates: tuple[str, ...]
    """Validation plates of which a well is learned from beyond choosing the epoch."""
    doses: tuple[str, ...]
    """Held-out ones, in words with their compound, that are learned from under the same name or another."""
    copies: tuple[tuple[str, str], ...]
    """A well that holds the same cells as one before it, and the first that does, `plate|well` each, whatever either is
    used for."""

    @property
    def leaks(self) -> bool:
        """Whether what was held out was not, or a well comes twice."""
        return bool(self.compounds or self.plates or self.validation_plates or self.doses or self.copies)

    def sentence(self) -> str:
        """What is wrong, for a person; empty when nothing is."""
        said = []
        if self.compounds:
            said.append(
                f"{len(self.compounds)} held-out compounds are learned from too ({_first(self.compounds)})"
            )
        if self.plates:
            said.append(f"{len(self.plates)} held-out plates are learned from too ({_first(self.plates)})")
        if self.validation_plates:
            n, first = len(self.validation_plates), _first(self.validation_plates)
            said.append(f"{n} validation plates do more than choose the epoch ({first})")
        if self.doses:
            said.append(f"{len(self.doses)} held-out doses are learned from too ({_first(self.doses)})")
        if self.copies:
            pairs = [f"{one} and {first}" for one, first in self.copies]
            said.append(f"{len(pairs)} wells hold the same cells as another ({_first(pairs)})")
        return "; ".join(said)

    def refuse(self, title: str) -> None:
        """Raise BadInputError that names what is shared, unless nothing is."""
        if self.leaks:
            raise BadInputError(
                f"{title} holds compounds, plates and doses out, but {self.sentence()}: withdraw the copy, or give one "
                "name to what is one"
            )


def find_well_leakage(wells: pd.DataFrame) -> WellLeakage:
    """Hold the held-out wells of a well manifest against those that are learned from, and all against each other.

    Args:
        wells: as `well_manifest.split_wells` has them.
    """
    learned = learned_from(wells)
    # What chooses the epoch is learned from, too, in that it decides the weights.
    learned |= learned_from(wells, Split.VAL)
    tested = (wells[COMPOUND_SPLIT] == Split.TEST.value).fillna(False).to_numpy(bool)
    held_dose = (wells[DOSE_SPLIT] == DoseSplit.HELD_OUT.value).fillna(False).to_numpy(bool)
    by_use = {use: (wells[PLATE_SPLIT] == use.value).fillna(False).to_numpy(bool) for use in PlateSplit}
    held_plate = by_use[PlateSplit.HELD_OUT] | by_use[PlateSplit.OUT_OF_DISTRIBUTION]
    validates = by_use[PlateSplit.VALIDATION]
    beyond_epochs = set(wells.loc[learned & ~validates, PLATE])
    plain = wells[COMPOUND].str.casefold().str.replace(r"[\s_-]+", "", regex=True)
    known = set(plain[learned].dropna())
    compounds = wells.loc[tested & plain.isin(known).to_numpy(bool), COMPOUND]
    with_cells = wells[wells[DIGEST].notna()]
    names = with_cells[PLATE].astype(str) + "|" + with_cells[WELL].astype(str)
    twice = with_cells[DIGEST].duplicated()
    first = names.groupby(with_cells[DIGEST]).transform("first")
    return WellLeakage(
        n_held_out_compounds=wells.loc[tested, COMPOUND].nunique(),
        n_held_out_plates=wells.loc[held_plate, PLATE].nunique(),
        n_held_out_doses=len(wells.loc[held_dose, [COMPOUND, DOSE, DOSE_UNIT]].drop_duplicates()),
        compounds=_sorted(compounds),
        plates=_sorted(set(wells.loc[held_plate, PLATE]) & set(wells.loc[learned, PLATE])),
        validation_plates=_sorted(set(wells.loc[validates, PLATE]) & beyond_epochs),
        doses=_learned_doses(wells, plain, held_dose, learned),
        copies=tuple(zip(names[twice], first[twice], strict=True)),
    )


def _learned_doses(
    wells: pd.DataFrame, plain: pd.Series, held: BoolArray, learned: BoolArray
) -> tuple[str, ...]:
    """Held-out doses of compounds, told by their plain names, that a well which is learned from got too."""
    known = comparable_doses(wells[DOSE], wells[DOSE_UNIT]).astype({"value": "float64"})
    known = known.assign(**{COMPOUND: plain})
    treatments = [COMPOUND, "value", "unit"]
    both = known[held].drop_duplicates(treatments).reset_index()
    both = both.merge(
        known[learned].drop_duplicates(treatments), on=[COMPOUND, "unit"], suffixes=("", "_learned")
    )
    same = np.isclose(both["value"], both["value_learned"], rtol=SAME_DOSE, atol=0.0)
    of_wells = wells.loc[both.loc[same, "index"], [COMPOUND, DOSE, DOSE_UNIT]]
    return _sorted(f"{compound} {dose:g} {unit}" for compound, dose, unit in of_wells.itertuples(index=False))


def _sorted(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(names)))


def _first(names: Iterable[str]) -> str:
    all_names = list(names)
    more = f" and {len(all_names) - _NAMED} more" if len(all_names) > _NAMED else ""
    return ", ".join(all_names[:_NAMED]) + more
