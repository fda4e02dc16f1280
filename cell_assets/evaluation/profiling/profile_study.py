"""The study of an experiment's profiles: do they find mechanisms and replicates, and how do representations compare?

All representations are asked of the same wells, so that what one has over another is a paired difference.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA

from cell_assets.errors import BadInputError
from cell_assets.evaluation.profiling.batch_effect import BatchScore, batch_scores
from cell_assets.evaluation.profiling.profile_parameters import ProfileStudyParameters
from cell_assets.evaluation.profiling.profile_scores import (
    ALL_COMPOUNDS,
    PlateScore,
    Score,
    plate_scores,
    scores,
    strata_of,
)
from cell_assets.evaluation.profiling.profile_tasks import RankedTask, Task, rank, treated_only
from cell_assets.evaluation.profiling.significance import CORRECTED_P, permutation_tests, share_found
from cell_assets.evaluation.profiling.well_manifest import (
    COMPOUND,
    COMPOUND_SPLIT,
    DOSE,
    DOSE_UNIT,
    IS_CONTROL,
    MOA,
    holds_doses_out,
    is_treated,
    with_batch,
)
from cell_assets.evaluation.resampling import Estimate
from cell_assets.evaluation.retrieval.cross_fitted import AskingProfiles, CrossFittedProfiles
from cell_assets.evaluation.retrieval.fused_profiles import FusedProfiles
from cell_assets.evaluation.retrieval.profiles import Profiles
from cell_assets.evaluation.umap_axes import COMPONENTS, umap_axes
from cell_assets.evaluation.units import FloatArray, require_columns
from cell_assets.imaging.feature_tables.columns import PLATE, WELL

_KNOWN = (PLATE, WELL, COMPOUND, DOSE, DOSE_UNIT, MOA, IS_CONTROL)


@dataclass(frozen=True)
class FoundCompounds:
    """Which compounds find others of their mechanism, beyond a random order's luck."""

    representation: str
    table: pd.DataFrame
    """A row for each compound with a sister: compound, `Metadata_MoA`, `mean_average_precision, p_value,
    corrected_p_value`, as copairs tests them by permutation."""
    share: Estimate
    """Of the compounds, those whose corrected p is below `SIGNIFICANT`."""


@dataclass(frozen=True)
class UmapOfWells:
    """Where wells lie, for looking at."""

    representation: str
    xy: FloatArray | None
    """(N, 2) of the study's wells."""
    why_missing: str = ""
    """Where there is none, why."""


@dataclass(frozen=True)
class ProfileStudy:
    """Everything that was found."""

    parameters: ProfileStudyParameters
    representations: tuple[str, ...]
    wells: pd.DataFrame
    """N rows: metadata of the wells that all representations have."""
    n_features: Mapping[str, int]
    """By representation."""
    left_out: Mapping[str, int]
    """By representation, wells that it has and another lacks."""
    scores: tuple[Score, ...]
    plates: tuple[PlateScore, ...]
    batch: tuple[BatchScore, ...]
    found: tuple[FoundCompounds, ...]
    without_sister: pd.DataFrame
    """Compound and mechanism of those that no other compound shares it with."""
    without_mechanism: tuple[str, ...]
    """Compounds of which no mechanism is known."""
    umaps: tuple[UmapOfWells, ...]

    @property
    def has_splits(self) -> bool:
        """Whether a well manifest says what was learned from."""
        return COMPOUND_SPLIT in self.wells.columns

    @property
    def holds_doses_out(self) -> bool:
        """Whether some doses were not learned from."""
        return holds_doses_out(self.wells)

    def score(self, task: Task, representation: str) -> Score:
        """Over all compounds."""
        return next(
            one
            for one in self.scores
            if one.task is task and one.representation == representation and one.stratum.name == ALL_COMPOUNDS
        )


def study_profiles(
    representations: Mapping[str, AskingProfiles], parameters: ProfileStudyParameters
) -> ProfileStudy:
    """Ask all representations (profiles of wells by name, controls among them) everything.

    Args:
        representations: with the columns of a well manifest's wells; those of its splits may lack. What is known of a
            well is taken from the reference.

    Raises:
        BadInputError: a column or the reference lacks, a well comes twice, no well is treated, a compound has several
            mechanisms, or the batch of a plate is not given while others' are.
    """
    wells, left_out = _same_wells(representations, parameters)
    names = tuple(wells)
    known = next(iter(wells.values())).metadata
    treated = is_treated(known)
    if not treated.any():
        raise BadInputError("no well has a compound that is no control; say in the plate maps what wells got")
    _refuse_several_mechanisms(known[treated])
    asking = [treated_only(one, treated) for one in wells.values()]
    controls = [one.select(known[IS_CONTROL].to_numpy(np.bool_)) for one in wells.values()]
    reference, seed, n = names.index(parameters.reference), parameters.seed, parameters.n_resamples
    ranked = {task: rank(task, asking) for task in Task}
    with_sister = set(ranked[Task.MECHANISM].known[COMPOUND].astype(str))
    compounds = known.loc[treated, [COMPOUND, MOA]].drop_duplicates().sort_values(COMPOUND)
    has_mechanism = compounds[MOA].notna()
    alone = has_mechanism & ~compounds[COMPOUND].astype(str).isin(with_sister)
    return ProfileStudy(
        parameters=parameters,
        representations=names,
        wells=known,
        n_features={name: len(one.names) for name, one in wells.items()},
        left_out=left_out,
        scores=tuple(
            score
            for one in ranked.values()
            for score in scores(one, names, reference, strata_of(one.task, known), seed, n)
        ),
        plates=tuple(
            score
            for one in ranked.values()
            if one.task.within_plates
            for score in plate_scores(one, names, reference, seed, n)
        ),
        batch=tuple(batch_scores(asking, controls, names, seed, n)),
        found=tuple(_found_compounds(names, ranked[Task.MECHANISM], seed, n)),
        without_sister=compounds[alone].reset_index(drop=True),
        without_mechanism=tuple(compounds.loc[~has_mechanism, COMPOUND].astype(str)),
        umaps=tuple(_umap(name, one, seed) for name, one in wells.items() if parameters.umap),
    )


def _same_wells(
    representations: Mapping[str, AskingProfiles], parameters: ProfileStudyParameters
) -> tuple[dict[str, AskingProfiles], dict[str, int]]:
    """The wells that all have, in one order and with the reference's metadata; how many others each has."""
    if parameters.reference not in representations:
        raise BadInputError(
            f"reference {parameters.reference} is none of the representations {', '.join(representations)}; name one"
        )
    keys = {name: _keys(profiles, name) for name, profiles in representations.items()}
    shared = set.intersection(*(set(one) for one in keys.values()))
    order = [key for key in sorted(keys[parameters.reference]) if key in shared]
    if not order:
        raise BadInputError("the representations share no well; study those of one experiment together")
    reference = representations[parameters.reference]
    rows = keys[parameters.reference].get_indexer(pd.MultiIndex.from_tuples(order))
    known = with_batch(reference.metadata.iloc[rows].reset_index(drop=True), parameters.batch_of_plate)
    aligned = {
        name: _in_order(profiles, keys[name].get_indexer(pd.MultiIndex.from_tuples(order)), known)
        for name, profiles in representations.items()
    }
    return aligned, {name: len(one) - len(order) for name, one in keys.items()}


def _in_order(profiles: AskingProfiles, rows: np.ndarray, known: pd.DataFrame) -> AskingProfiles:
    return profiles.each(lambda one: Profiles(known, one.features[rows], one.names))


def _keys(profiles: AskingProfiles, name: str) -> pd.MultiIndex:
    require_columns(profiles.metadata, _KNOWN, f"{name} profiles'")
    keys = pd.MultiIndex.from_frame(profiles.metadata[[PLATE, WELL]].astype(str))
    if keys.has_duplicates:
        plate, well = keys[keys.duplicated()][0]
        raise BadInputError(
            f"well {well} of plate {plate} has several {name} profiles; is a plate given twice?"
        )
    return keys


def _refuse_several_mechanisms(treated: pd.DataFrame) -> None:
    n = treated.groupby(COMPOUND)[MOA].nunique(dropna=False)
    if (n > 1).any():
        name = n.index[n > 1][0]
        said = sorted(set(treated.loc[treated[COMPOUND] == name, MOA].astype(str)))
        raise BadInputError(
            f"compound {name} has the mechanisms {', '.join(said)}; give it one on all plates"
        )


def _found_compounds(
    names: Sequence[str], ranked: RankedTask, seed: int, n_resamples: int
) -> Iterator[FoundCompounds]:
    if ranked.why_missing is not None:
        columns = [COMPOUND, MOA, "mean_average_precision", "p_value", CORRECTED_P]
        for name in names:
            yield FoundCompounds(name, pd.DataFrame(columns=columns), Estimate.missing(ranked.why_missing))
        return
    mechanism = ranked.known.drop_duplicates(COMPOUND).set_index(COMPOUND)[MOA]
    tables = permutation_tests(ranked.known, ranked.average_precision, COMPOUND, seed)
    for name, table in zip(names, tables, strict=True):
        table.insert(1, MOA, table[COMPOUND].map(mechanism))
        corrected, compounds = table[CORRECTED_P].to_numpy(np.float64), table[COMPOUND].to_numpy(str)
        yield FoundCompounds(name, table, share_found(corrected, compounds, seed, n_resamples))


def _umap(name: str, wells: AskingProfiles, seed: int) -> UmapOfWells:
    """Of profiles of length 1, of which the Euclidean distance orders as the cosine does."""
    if isinstance(wells, CrossFittedProfiles):
        why = f"its {len(wells.by_fold)} models each lay wells out in a space of their own"
        return UmapOfWells(name, None, why)
    if isinstance(wells, FusedProfiles):
        return UmapOfWells(name, None, "it is a similarity, and lays wells out in no space")
    unit = wells.features / np.linalg.norm(wells.features, axis=1, keepdims=True)
    n = min(COMPONENTS, *unit.shape)
    components = PCA(n, svd_solver="full").fit_transform(unit)
    xy = umap_axes(components, seed=seed).xy
    if xy is None:
        return UmapOfWells(name, None, f"{len(unit)} wells are too few")
    return UmapOfWells(name, xy.astype(np.float64))
