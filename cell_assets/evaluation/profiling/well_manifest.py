"""The well_manifest artifact: the wells of an experiment, frozen, and what each may be used for.

On disk `wells.parquet`, one row per well, and `well_manifest.json`. Three things are held out, and crossed: compounds,
whose wells nothing learns from on any plate, plates, from which nothing is learned of any compound (Fig. 8 of
CytoSummaryNet), and doses, from which nothing is learned on any plate (Fig. 4). As in Fig. 8, plates that are held out
are of three kinds: those that watch training, those that test, and those of other conditions. Wells of negative
controls are in no split of compounds or doses: nothing learns from them, and they stay as data.
"""

from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Literal, Self

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, model_validator

from cell_assets.errors import BadInputError
from cell_assets.evaluation.profiling.learned_doses import (
    DoseParameters,
    comparable_doses,
    in_learned_doses,
)
from cell_assets.evaluation.splits import Split
from cell_assets.evaluation.units import BoolArray
from cell_assets.imaging.feature_tables.columns import PLATE, WELL
from cell_assets.imaging.parquet_tables import read_parquet, write_parquet
from cell_assets.imaging.record_files import read_record
from cell_assets.ledger.records import WellDraft

WELLS_PARQUET = "wells.parquet"
WELL_MANIFEST_JSON = "well_manifest.json"
COMPOUND = "Metadata_Perturbation"
"""What a well was treated with: a compound, gene, guide or virus."""
DOSE, DOSE_UNIT = "Metadata_Dose", "Metadata_DoseUnit"
BATCH = "Metadata_Batch"
"""Of a plate: what it was made together with, such as its week or its dataset. Not of every manifest."""
MOA, IS_CONTROL = "Metadata_MoA", "Metadata_IsControl"
COUNT = "Metadata_Count"
"""Cells of a well."""
DIGEST = "Metadata_CellsDigest"
"""Of a well's cells, missing where it has none; the same of two wells that are one."""
COMPOUND_SPLIT = "Metadata_CompoundSplit"
"""Missing of control wells, and of wells that nobody says the treatment of."""
PLATE_SPLIT = "Metadata_PlateSplit"
DOSE_SPLIT = "Metadata_DoseSplit"
"""Missing where `COMPOUND_SPLIT` is."""
MIN_LEARNED = 2
"""Compounds: one alone is told from nothing."""


class PlateSplit(StrEnum):
    """What a plate may be used for."""

    LEARNED = "learned"
    """Weights are learned from its training compounds; its validation compounds choose the epoch."""
    VALIDATION = "validation"
    """Nothing is learned from it; its validation compounds choose the epoch, beside those of learned plates."""
    HELD_OUT = "held out"
    """It tests: nothing is learned from it, and nothing chosen by it."""
    OUT_OF_DISTRIBUTION = "out-of-distribution"
    """It tests as held-out plates do, and was made under conditions that nothing which is learned from shares."""


class DoseSplit(StrEnum):
    """What a dose of a compound may be used for."""

    LEARNED = "learned"
    HELD_OUT = "held out"


def _names_nothing(plates: tuple[str, ...]) -> bool:
    """What is not used is not written either, so that the choices that know nothing of it stay byte for byte."""
    return not plates


class WellSplitParameters(BaseModel):
    """Which compounds, plates and doses are held out of learning."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    val_fraction: float = Field(default=0.2, ge=0, lt=1)
    """Of the compounds: what chooses the epoch that is kept, on plates that are learned from and on
    `validation_plates`."""
    test_fraction: float = Field(default=0.2, ge=0, lt=1)
    """Of the compounds: what the report's numbers of unseen compounds are of."""
    held_out_plates: tuple[str, ...] = ()
    """Plates that nothing is learned from, such as those of another batch: the test plates of Fig. 8."""
    validation_plates: tuple[str, ...] = Field(default=(), exclude_if=_names_nothing)
    """Plates that no weight is learned from, and whose validation compounds help to choose the epoch that is kept."""
    out_of_distribution_plates: tuple[str, ...] = Field(default=(), exclude_if=_names_nothing)
    """Plates of other conditions than all that is learned from, such as Stain5 of the paper, and so of none of its
    batches. They are held out as test plates are, and reports give their numbers apart."""
    doses: DoseParameters = DoseParameters()
    """Doses that something is learned from."""
    batch_of_plate: dict[str, str] = Field(default_factory=dict)
    """By plate, the batch in which it was made, such as its week or its dataset. Default: nobody says it."""
    seed: int = Field(default=0, ge=0)
    """Of the draw of compounds."""

    @property
    def plate_splits(self) -> dict[str, PlateSplit]:
        """Of the plates that no weight is learned from, what each is for."""
        return (
            dict.fromkeys(self.held_out_plates, PlateSplit.HELD_OUT)
            | dict.fromkeys(self.validation_plates, PlateSplit.VALIDATION)
            | dict.fromkeys(self.out_of_distribution_plates, PlateSplit.OUT_OF_DISTRIBUTION)
        )

    @model_validator(mode="after")
    def _each_plate_is_for_one_thing(self) -> Self:
        fields = (self.held_out_plates, self.validation_plates, self.out_of_distribution_plates)
        named = [plate for plates in fields for plate in set(plates)]
        twice = sorted({plate for plate in named if named.count(plate) > 1})
        if twice:
            raise ValueError(
                f"plate {twice[0]} is in two of held_out_plates, validation_plates and out_of_distribution_plates; "
                "name it in one"
            )
        if self.validation_plates and not self.val_fraction:
            raise ValueError(
                f"validation_plates names {self.validation_plates[0]}, of which nothing validates, because "
                "val_fraction=0 leaves no compound for it; raise val_fraction"
            )
        return self


_FIELDS = {
    PlateSplit.HELD_OUT: "held_out_plates",
    PlateSplit.VALIDATION: "validation_plates",
    PlateSplit.OUT_OF_DISTRIBUTION: "out_of_distribution_plates",
}


class WellManifestRecord(BaseModel):
    """Content of `well_manifest.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["cell_assets.well_manifest"] = "cell_assets.well_manifest"
    version: Literal[1, 2] = 2
    """In the first every dose is learned from, and wells say nothing of it."""
    experiment: str
    plates: dict[str, str]
    """Digest of the single cells of each plate."""
    parameters: WellSplitParameters
    compounds: dict[Split, tuple[str, ...]]
    """By what they are used for."""


def wells_table(
    plate: str, drafts: Sequence[WellDraft], cells: Mapping[str, int], digests: Mapping[str, str]
) -> pd.DataFrame:
    """One row per well of a plate, in the order of its drafts.

    Args:
        cells: how many each well has; wells that are not named have none.
        digests: of the cells of each well that has some.
    """
    return pd.DataFrame(
        {
            PLATE: pd.array([plate] * len(drafts), "string"),
            WELL: pd.array([one.name for one in drafts], "string"),
            COMPOUND: pd.array([one.perturbation for one in drafts], "string"),
            DOSE: np.array([np.nan if one.dose is None else one.dose for one in drafts], np.float64),
            DOSE_UNIT: pd.array([one.dose_unit for one in drafts], "string"),
            MOA: pd.array([one.moa for one in drafts], "string"),
            IS_CONTROL: np.array([bool(one.is_control) for one in drafts]),
            COUNT: np.array([cells.get(one.name, 0) for one in drafts], np.int64),
            DIGEST: pd.array([digests.get(one.name) for one in drafts], "string"),
        }
    )


def split_wells(wells: pd.DataFrame, parameters: WellSplitParameters) -> pd.DataFrame:
    """Wells with `COMPOUND_SPLIT`, `PLATE_SPLIT`, `DOSE_SPLIT`, and `BATCH` where batches are said.

    A compound has one split on all plates and at all doses, and a dose of it one on all plates. Compounds are drawn
    systematically along their mechanisms, so that no split is left without a mechanism that has compounds enough. A
    compound that comes at no dose to learn from tests, beside those that are drawn.

    Raises:
        BadInputError: a plate that is not to be learned from is none of these, no plate is left to learn from, a plate
            lacks a batch, one that is out of distribution shares it with one that trains or validates, doses cannot be
            told apart as is asked for, or too few compounds are left.
    """
    plates = list(dict.fromkeys(wells[PLATE].astype(str)))
    plate_splits = parameters.plate_splits
    unknown = [name for name in plate_splits if name not in plates]
    if unknown:
        raise BadInputError(
            f"{_FIELDS[plate_splits[unknown[0]]]}: {unknown[0]} is not one of {', '.join(plates)}; name a plate of the "
            "experiment"
        )
    if set(plates) == set(plate_splits):
        fields = " and ".join(dict.fromkeys(_FIELDS[one] for one in plate_splits.values()))
        verb = "name" if " and " in fields else "names"
        raise BadInputError(
            f"{fields} {verb} every plate, so that none is left to learn from; leave some out"
        )
    treated = is_treated(wells)
    wells = with_batch(wells, parameters.batch_of_plate)
    _refuse_familiar_batches(plates, parameters)
    taught = of_learned_doses(wells, plate_splits, parameters.doses)
    split = _compound_splits(wells[treated], taught[treated], parameters)
    n_learned = sum(one is Split.TRAIN for one in split.values())
    if n_learned < MIN_LEARNED:
        raise BadInputError(
            f"{n_learned} of {len(split)} compounds are left to learn from, and {MIN_LEARNED} are needed; lower "
            "val_fraction or test_fraction, or bring in plates with more compounds"
        )
    doses = np.full(len(wells), None, object)
    doses[treated] = np.where(taught[treated], DoseSplit.LEARNED.value, DoseSplit.HELD_OUT.value)
    return wells.assign(
        **{
            COMPOUND_SPLIT: pd.array(
                [
                    split[str(name)].value if of_a_compound else None
                    for name, of_a_compound in zip(wells[COMPOUND], treated, strict=True)
                ],
                "string",
            ),
            PLATE_SPLIT: pd.array(
                [plate_splits.get(name, PlateSplit.LEARNED).value for name in wells[PLATE].astype(str)],
                "string",
            ),
            DOSE_SPLIT: pd.array(doses, "string"),
        }
    )


def with_batch(wells: pd.DataFrame, batch_of_plate: Mapping[str, str]) -> pd.DataFrame:
    """Wells with `BATCH`; as they are, where no plate's is said.

    Raises:
        BadInputError: a plate has no batch, while others have.
    """
    if not batch_of_plate:
        return wells
    batch = wells[PLATE].astype(str).map(dict(batch_of_plate)).astype("string")
    if batch.isna().any():
        plate = wells.loc[batch.isna(), PLATE].iloc[0]
        raise BadInputError(f"batch_of_plate: plate {plate} has no batch; name that of every plate")
    return wells.assign(**{BATCH: batch})


def _refuse_familiar_batches(plates: Sequence[str], parameters: WellSplitParameters) -> None:
    """Raise BadInputError where a plate is said to be out of distribution, and of a batch that trains or validates."""
    splits, batches = parameters.plate_splits, parameters.batch_of_plate
    uses = {plate: splits.get(plate, PlateSplit.LEARNED) for plate in plates if plate in batches}
    familiar = {
        batches[plate]: plate
        for plate, use in reversed(uses.items())
        if use in (PlateSplit.LEARNED, PlateSplit.VALIDATION)
    }
    for plate, use in uses.items():
        if use is PlateSplit.OUT_OF_DISTRIBUTION and (other := familiar.get(batches[plate])) is not None:
            raise BadInputError(
                f"out_of_distribution_plates: {plate} is of batch {batches[plate]}, as is {other}, a {uses[other]} "
                "plate; name it in held_out_plates, or correct batch_of_plate"
            )


def is_treated(wells: pd.DataFrame) -> BoolArray:
    """Which wells (W,) got a compound that is no control."""
    return wells[COMPOUND].notna().to_numpy() & ~wells[IS_CONTROL].to_numpy(np.bool_)


def of_learned_doses(
    wells: pd.DataFrame, held_out_plates: Collection[str], parameters: DoseParameters
) -> BoolArray:
    """Which wells (W,) got a compound at a dose that is learned from, on whatever plate.

    Args:
        held_out_plates: all that no weight is learned from.

    Raises:
        BadInputError: as `learned_doses.in_learned_doses`.
    """
    treated = is_treated(wells)
    own = wells[treated]
    learnable = ~own[PLATE].isin(held_out_plates).to_numpy(np.bool_)
    found = np.zeros(len(wells), np.bool_)
    found[treated] = in_learned_doses(
        own[COMPOUND], comparable_doses(own[DOSE], own[DOSE_UNIT]), learnable, parameters
    )
    return found


def holds_doses_out(wells: pd.DataFrame) -> bool:
    """Whether wells say of which doses is learned, and some are of others."""
    if DOSE_SPLIT not in wells.columns:
        return False
    return bool((wells[DOSE_SPLIT] == DoseSplit.HELD_OUT.value).fillna(False).any())


def learned_from(wells: pd.DataFrame, split: Split = Split.TRAIN) -> BoolArray:
    """Which wells (W,) are of this split's compounds, on plates and of doses that are learned from, and have cells;
    compounds that validate do so on validation plates, too."""
    plates = [PlateSplit.LEARNED.value] + ([PlateSplit.VALIDATION.value] if split is Split.VAL else [])
    named = (wells[COMPOUND_SPLIT] == split.value).fillna(False).to_numpy(np.bool_)
    return (
        named
        & (wells[DOSE_SPLIT] == DoseSplit.LEARNED.value).fillna(False).to_numpy(np.bool_)
        & wells[PLATE_SPLIT].isin(plates).to_numpy(np.bool_)
        & (wells[COUNT] > 0).to_numpy()
    )


def write_well_manifest(
    experiment: str,
    split: pd.DataFrame,
    digests: Mapping[str, str],
    parameters: WellSplitParameters,
    out: Path,
) -> WellManifestRecord:
    """Write wells into the existing folder `out`.

    Args:
        split: of all plates, as `split_wells` makes them with `parameters`.
        digests: of the single cells, by plate.
    """
    record = WellManifestRecord(
        experiment=experiment,
        plates=dict(digests),
        parameters=parameters,
        compounds={
            one: tuple(sorted(set(split.loc[split[COMPOUND_SPLIT] == one.value, COMPOUND].astype(str))))
            for one in Split
        },
    )
    write_parquet(split, out / WELLS_PARQUET)
    (out / WELL_MANIFEST_JSON).write_text(record.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return record


def read_well_manifest(folder: Path) -> tuple[WellManifestRecord, pd.DataFrame]:
    """What was frozen, and its wells.

    Raises:
        BadInputError: it is not there, or not readable.
    """
    record = read_record(folder / WELL_MANIFEST_JSON, WellManifestRecord, "well_manifest", "a well manifest")
    try:
        wells = read_parquet(folder / WELLS_PARQUET)
    except OSError as error:
        raise BadInputError(
            f"{folder / WELLS_PARQUET}: cannot be read ({error}); give a folder of well_manifest"
        ) from error
    if record.version == 1:
        every = wells[COMPOUND_SPLIT].where(wells[COMPOUND_SPLIT].isna(), DoseSplit.LEARNED.value)
        wells = wells.assign(**{DOSE_SPLIT: every})
    text = [PLATE, WELL, COMPOUND, DOSE_UNIT, MOA, DIGEST, COMPOUND_SPLIT, PLATE_SPLIT, DOSE_SPLIT, BATCH]
    return record, wells.astype(dict.fromkeys((name for name in text if name in wells.columns), "string"))


def _compound_splits(
    treated: pd.DataFrame, taught: BoolArray, parameters: WellSplitParameters
) -> dict[str, Split]:
    """By compound; `taught` are the wells of `treated` that are of a dose that is learned from."""
    mechanism = treated.groupby(treated[COMPOUND].astype(str), sort=True)[MOA].first()
    with_dose = set(treated.loc[taught, COMPOUND].astype(str))
    names = np.array([name for name in mechanism.index if name in with_dose], str)
    random = np.random.default_rng(parameters.seed)
    shuffled = names[random.permutation(len(names))]
    by_mechanism = sorted(shuffled, key=lambda name: str(mechanism[name]))
    split = dict.fromkeys(by_mechanism, Split.TRAIN)
    for part, fraction in ((Split.TEST, parameters.test_fraction), (Split.VAL, parameters.val_fraction)):
        left = [name for name in by_mechanism if split[name] is Split.TRAIN]
        n = round(fraction * len(names))
        places = ((np.arange(n) + random.random()) * len(left) / max(n, 1)).astype(np.int64)
        split |= {left[place]: part for place in places}
    return split | dict.fromkeys(set(mechanism.index) - with_dose, Split.TEST)
