"""The study of profiles as they were published: from folders to numbers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pandas as pd

from cell_assets.errors import BadInputError
from cell_assets.evaluation.profiling.learned_doses import ALL_DOSES
from cell_assets.evaluation.profiling.mean_profiles import (
    PlateProfilesRecord,
    read_profiles_record,
)
from cell_assets.evaluation.profiling.profile_numbers import profile_numbers
from cell_assets.evaluation.profiling.profile_parameters import ProfileReportParameters
from cell_assets.evaluation.profiling.profile_selection import (
    SelectedProfiles,
    selected_profiles,
)
from cell_assets.evaluation.profiling.profile_study import (
    ProfileStudy,
    study_profiles,
)
from cell_assets.evaluation.profiling.published_relevance import (
    RelevanceFolders,
    RelevanceStudy,
    study_relevance,
)
from cell_assets.evaluation.profiling.relevance_numbers import relevance_numbers
from cell_assets.evaluation.profiling.relevance_table import RELEVANCE_PARQUET
from cell_assets.evaluation.profiling.supervised_profiles import (
    SupervisedProfilesRecord,
    read_supervised_profiles,
    read_supervised_record,
    supervised_name,
)
from cell_assets.evaluation.profiling.well_manifest import (
    BATCH,
    COMPOUND_SPLIT,
    DOSE_SPLIT,
    PLATE_SPLIT,
    read_well_manifest,
)
from cell_assets.evaluation.profiling.well_representations import Representation, kinds_of_fusion
from cell_assets.evaluation.retrieval.cross_fitted import AskingProfiles
from cell_assets.evaluation.retrieval.fused_profiles import FusedProfiles
from cell_assets.evaluation.retrieval.fusion_parameters import SimilarityFusionParameters
from cell_assets.evaluation.retrieval.profiles import PROFILES_PARQUET, Profiles, read_profiles
from cell_assets.imaging.feature_tables.columns import PLATE, WELL
from cell_assets.ledger.records import NumberDraft

SIMILARITY_FUSION = "similarity_network_fusion"
"""Representation: the features of `fusion`, of which the similarities of each kind are fused."""


@dataclass(frozen=True)
class ProfileFolders:
    """Published folders that a study reads."""

    mean_profiles: Mapping[str, Path]
    """By plate."""
    learned: Mapping[str, Mapping[str, Path]] = field(default_factory=dict)
    """By method, and by plate."""
    well_manifest: Path | None = None
    """Where there is one, which says what was learned from."""
    supervised: Path | None = None
    """supervised_profiles of the experiment, where there are some."""
    cells: Mapping[str, Path] = field(default_factory=dict)
    """Feature tables by plate, for the relevance of their cells in what the report is about; empty asks nothing of
    it."""


@dataclass(frozen=True)
class PublishedProfiles:
    """A study, and what was left out before it."""

    study: ProfileStudy
    numbers: tuple[NumberDraft, ...]
    records: tuple[PlateProfilesRecord, ...]
    """What making each plate's profiles left out."""
    selections: Mapping[str, SelectedProfiles]
    """By representation, what choosing common features left out."""
    notes: tuple[str, ...]
    relevance: RelevanceStudy | None
    """None where nothing is asked of it."""


def study_published_profiles(
    method: str, folders: ProfileFolders, parameters: ProfileReportParameters
) -> PublishedProfiles:
    """Read all profiles and ask them everything.

    Args:
        method: that the report is about, for example `cytosummary`.

    Raises:
        BadInputError: plates have no representation in common, or see `study_profiles`.
    """
    records = {plate: read_profiles_record(folder) for plate, folder in folders.mean_profiles.items()}
    common = [one for one in Representation if all(one in record.features for record in records.values())]
    chosen = {one: selected_profiles(folders.mean_profiles, one, parameters.selection) for one in common}
    found: dict[str, AskingProfiles] = {one.value: kept.profiles for one, kept in chosen.items()}
    said: list[str] = []
    if parameters.similarity_fusion is not None and Representation.FUSION in chosen:
        try:
            whole = chosen[Representation.FUSION].profiles
            kinds = kinds_of_fusion(whole.names)
            found[SIMILARITY_FUSION] = FusedProfiles(whole, kinds, parameters.similarity_fusion)
            said.append(_fusing(parameters.similarity_fusion, len(kinds)))
        except BadInputError as error:
            said.append(f"Similarities are not fused: {error}.")
    if folders.supervised is not None:
        found |= read_supervised_profiles(folders.supervised)
        said.append(_supervision(read_supervised_record(folders.supervised)))
    for learned, by_plate in folders.learned.items():
        found[learned] = _of_plates(
            [read_profiles(folder / PROFILES_PARQUET) for folder in by_plate.values()]
        )
    if folders.well_manifest is not None:
        _, wells = read_well_manifest(folders.well_manifest)
        found = {name: profiles.each(partial(_with_splits, wells=wells)) for name, profiles in found.items()}
    study = study_profiles(found, parameters.study)
    relevance = study_published_relevance(method, folders, parameters)
    unshared = sorted({one for record in records.values() for one in record.features} - set(common))
    return PublishedProfiles(
        study,
        (*profile_numbers(study, method), *(relevance_numbers(relevance, method) if relevance else ())),
        tuple(records.values()),
        {one.value: kept for one, kept in chosen.items()},
        (
            *said,
            *(f"{one.value} profiles are left out, because a plate has none." for one in unshared),
        ),
        relevance,
    )


def _fusing(fusion: SimilarityFusionParameters, n_kinds: int) -> str:
    """What a reader should know of the fused similarity."""
    return (
        f"{SIMILARITY_FUSION.replace('_', ' ').capitalize()} (Wang et al. 2014), as Rohban et al. (2019) fuse "
        "profiles: the cosines of medians, of median absolute deviations and of the sketch of covariances, "
        f"{n_kinds} kinds here, become one similarity by {fusion.iterations} rounds of diffusion along "
        f"{fusion.neighbours} nearest neighbours (mu {fusion.mu:g}). It has the features of fusion, which sets them "
        "side by side. All profiles that a question ranks are fused together, so that what one is like depends on the "
        "others."
    )


def _supervision(record: SupervisedProfilesRecord) -> str:
    """What a reader should know of the supervised control."""
    names = ", ".join(supervised_name(one).replace("_", " ") for one in record.train_loss)
    learned = sorted(len(fold.learned_from) for fold in record.folds)
    n = str(learned[0]) if learned[0] == learned[-1] else f"{learned[0]} to {learned[-1]}"
    plates = f", and no well of {', '.join(record.held_out_plates)}" if record.held_out_plates else ""
    doses = "" if record.doses == ALL_DOSES else f", and learned at no dose but {record.doses.in_words()}"
    return (
        f"Supervised ({names}): {len(record.folds)} heads, each of which learned to tell {n} of {len(record.fold_of)} "
        f"compounds apart and saw no well of the others at any dose{plates}{doses}. A profile asks with a head that "
        "did not learn from its compound, and that head profiles all it is compared with; control wells ask with the "
        "first."
    )


def study_published_relevance(
    method: str, folders: ProfileFolders, parameters: ProfileReportParameters
) -> RelevanceStudy | None:
    """What the relevance of cells means, by the profiles of the method that the report is about; None where nothing is
    asked of it, there are no cells, or the method does not say how much they have to say.

    Raises:
        BadInputError: see `study_relevance`.
    """
    if parameters.relevance is None or not folders.cells:
        return None
    by_plate = {
        plate: RelevanceFolders(profiles, folders.cells[plate])
        for plate, profiles in folders.learned[method].items()
        if (profiles / RELEVANCE_PARQUET).exists()
    }
    if not by_plate:
        return None
    return study_relevance(by_plate, parameters, parameters.relevance)


def _of_plates(plates: list[Profiles]) -> Profiles:
    """Profiles of one model, whose features are the same on every plate."""
    features = pd.concat([pd.DataFrame(one.features, columns=list(one.names)) for one in plates])
    metadata = pd.concat([one.metadata for one in plates], ignore_index=True)
    return Profiles(metadata, features.to_numpy("float64"), plates[0].names)


def _with_splits(profiles: Profiles, wells: pd.DataFrame) -> Profiles:
    """What the manifest says of each well's use, and of its batch; plates that it does not list have none."""
    uses = [name for name in (COMPOUND_SPLIT, PLATE_SPLIT, DOSE_SPLIT, BATCH) if name in wells.columns]
    splits = wells[[PLATE, WELL, *uses]].astype({PLATE: str, WELL: str})
    known = profiles.metadata.drop(columns=uses, errors="ignore")
    known = known.astype({PLATE: str, WELL: str}).merge(splits, on=[PLATE, WELL], how="left")
    return Profiles(known, profiles.features, profiles.names)
