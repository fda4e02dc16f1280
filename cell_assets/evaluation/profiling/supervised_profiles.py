"""The supervised_profiles artifact: well profiles behind a head that learned to tell compounds apart, by folds.

On disk a `<representation>_fold<k>.parquet` for each fold: all wells as the head sees them that did not learn from the
fold's compounds, `Metadata_*` columns first, as pycytominer and copairs read their own files. Beside them `folds.json`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict

from cell_assets.errors import BadInputError
from cell_assets.evaluation.profiling.learned_doses import ALL_DOSES, DoseParameters
from cell_assets.evaluation.profiling.well_manifest import COMPOUND
from cell_assets.evaluation.profiling.well_representations import Representation
from cell_assets.evaluation.retrieval.cross_fitted import CrossFittedProfiles
from cell_assets.evaluation.retrieval.profiles import Profiles, read_profiles
from cell_assets.imaging.parquet_tables import write_parquet
from cell_assets.imaging.record_files import read_record

FOLDS_JSON = "folds.json"
HELD_OUT_FROM_HEAD = "Metadata_HeldOut"
"""Whether the head of a file did not learn from the well's compound because of the file's fold."""


class Fold(BaseModel):
    """One part of the compounds, and the head that did not learn from it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    held_out: tuple[str, ...]
    """Compounds, at all of their doses and on all plates."""
    learned_from: tuple[str, ...]
    """Compounds."""
    wells: int
    """That were learned from."""


class SupervisedProfilesRecord(BaseModel):
    """Content of `folds.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["cell_assets.supervised_profiles"] = "cell_assets.supervised_profiles"
    version: Literal[1] = 1
    folds: tuple[Fold, ...]
    held_out_plates: tuple[str, ...]
    """From which no head learned."""
    doses: DoseParameters = ALL_DOSES
    """From which heads learned."""
    train_loss: dict[Representation, tuple[float, ...]]
    """Of each head in its last epoch, by what the profiles are of."""

    @property
    def fold_of(self) -> dict[str, int]:
        """By compound."""
        return {name: place for place, fold in enumerate(self.folds) for name in fold.held_out}


def supervised_name(representation: Representation) -> str:
    """What reports call such profiles, for example `mean_supervised`."""
    return f"{representation.value}_supervised"


def write_supervised_profiles(
    profiles: Mapping[Representation, CrossFittedProfiles], record: SupervisedProfilesRecord, out: Path
) -> None:
    """Write them into the existing folder `out`."""
    for representation, of_heads in profiles.items():
        for place, (fold, one) in enumerate(zip(record.folds, of_heads.by_fold, strict=True)):
            known = one.metadata.assign(
                **{HELD_OUT_FROM_HEAD: one.metadata[COMPOUND].astype(str).isin(fold.held_out)}
            )
            features = pd.DataFrame(one.features, columns=list(one.names)).astype("float32")
            write_parquet(pd.concat([known, features], axis=1), out / _file(representation, place))
    (out / FOLDS_JSON).write_text(record.model_dump_json(indent=1) + "\n", encoding="utf-8")


def read_supervised_profiles(folder: Path) -> dict[str, CrossFittedProfiles]:
    """Profiles by `supervised_name`; a compound's wells ask as the head sees them that did not learn from it.

    Raises:
        BadInputError: a file is not there, or not readable; or a head learned from a compound that it holds out.
    """
    record = read_supervised_record(folder)
    for place, fold in enumerate(record.folds):
        if both := sorted(set(fold.held_out) & set(fold.learned_from)):
            raise BadInputError(
                f"{folder / FOLDS_JSON}: the head of fold {place} learned from compound {both[0]}, which it holds out "
                f"({len(both)} in all); make supervised_profiles again"
            )
    return {
        supervised_name(representation): CrossFittedProfiles(
            tuple(_of_head(folder / _file(representation, place)) for place in range(len(record.folds))),
            COMPOUND,
            record.fold_of,
        )
        for representation in record.train_loss
    }


def read_supervised_record(folder: Path) -> SupervisedProfilesRecord:
    """`folds.json` in `folder`.

    Raises:
        BadInputError: it is not there, or not readable.
    """
    return read_record(
        folder / FOLDS_JSON, SupervisedProfilesRecord, "supervised_profiles", "folds of supervised profiles"
    )


def _of_head(file: Path) -> Profiles:
    """Without what tells the heads' files apart: the wells are the same."""
    one = read_profiles(file)
    return Profiles(one.metadata.drop(columns=HELD_OUT_FROM_HEAD), one.features, one.names)


def _file(representation: Representation, fold: int) -> str:
    return f"{representation.value}_fold{fold}.parquet"
