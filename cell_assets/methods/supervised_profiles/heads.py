"""One head for each fold of compounds, and every well as each of them sees it.

The head and its training are CytoSummaryNet's. A well is its one profile in place of cells, and a set that training
draws is the profile of one well of a compound or the mean of two, from any plates: supervision without sight of cells.
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cell_assets.errors import BadInputError
from cell_assets.evaluation.profiling.learned_doses import ALL_DOSES, DoseParameters
from cell_assets.evaluation.profiling.supervised_profiles import Fold
from cell_assets.evaluation.profiling.well_manifest import (
    COMPOUND,
    IS_CONTROL,
    MIN_LEARNED,
    is_treated,
    of_learned_doses,
)
from cell_assets.evaluation.retrieval.cross_fitted import CrossFittedProfiles
from cell_assets.evaluation.retrieval.profiles import Profiles
from cell_assets.evaluation.units import BoolArray, FloatArray, require_columns
from cell_assets.imaging.feature_tables.columns import PLATE
from cell_assets.methods.contract import ProgressSink
from cell_assets.methods.cytosummary.building import on_plate
from cell_assets.methods.cytosummary.parameters import PRESETS, Summary, TrainingParameters
from cell_assets.methods.cytosummary.plate_cells import PlateCells
from cell_assets.methods.cytosummary.sets import SetParameters
from cell_assets.methods.cytosummary.training import train_network
from cell_assets.methods.execution import prepared
from cell_assets.methods.processor import Precision
from cell_assets.methods.supervised_profiles.parameters import SupervisedProfilesParameters

FEATURE = "Cells_Supervised_{:04d}"
"""pycytominer knows features by the compartment that their names begin with."""


@dataclass(frozen=True)
class CrossFit:
    """Supervised profiles, and what each head learned from."""

    profiles: CrossFittedProfiles
    folds: tuple[Fold, ...]
    train_loss: tuple[float, ...]
    """Of each head in its last epoch."""


def folds_of(
    wells: pd.DataFrame,
    held_out_plates: tuple[str, ...],
    parameters: SupervisedProfilesParameters,
    doses: DoseParameters = ALL_DOSES,
) -> tuple[Fold, ...]:
    """The compounds of W wells in parts as even as can be; a compound is in one, at all of its doses.

    Args:
        wells: as `well_manifest.wells_table` has them.
        held_out_plates: from which nothing is learned.
        doses: from which something is.

    Raises:
        BadInputError: there are too few compounds for as many parts, a held-out plate is none of the wells', or doses
            cannot be told apart as is asked for.
    """
    require_columns(wells, [PLATE, COMPOUND, IS_CONTROL], "wells")
    if unknown := sorted(set(held_out_plates) - set(wells[PLATE].astype(str))):
        raise BadInputError(
            f"well_split holds out {unknown[0]}, which is none of the plates that have profiles; name one of these"
        )
    compounds = np.unique(wells.loc[is_treated(wells), COMPOUND].astype(str).to_numpy(str))
    shuffled = np.random.default_rng([parameters.seed, 9]).permutation(compounds)
    folds = []
    for first in range(parameters.folds):
        held_out = shuffled[first :: parameters.folds]
        learned = _taught_by(wells, set(compounds) - set(held_out), held_out_plates, doses)
        learned_from = tuple(sorted(set(wells.loc[learned, COMPOUND].astype(str))))
        if not len(held_out) or len(learned_from) < MIN_LEARNED:
            raise BadInputError(
                f"{len(compounds)} compounds are too few for {parameters.folds} folds: a head of supervised profiles "
                f"would learn from {len(learned_from)}, and {MIN_LEARNED} are needed; ask for fewer folds, or leave "
                "supervised_profiles out of the choices"
            )
        folds.append(
            Fold(
                held_out=tuple(sorted(map(str, held_out))),
                learned_from=learned_from,
                wells=int(learned.sum()),
            )
        )
    return tuple(folds)


def cross_fit(
    wells: Profiles,
    held_out_plates: tuple[str, ...],
    parameters: SupervisedProfilesParameters,
    progress: ProgressSink | None = None,
    doses: DoseParameters = ALL_DOSES,
) -> CrossFit:
    """Train a head for each fold and profile all wells by each.

    Features are standardised by the wells that a head learns from; those that do not vary among them tell it nothing.
    Equal wells and parameters give equal profiles in an equal environment.

    Raises:
        BadInputError: as `folds_of`.
    """
    folds = folds_of(wells.metadata, held_out_plates, parameters, doses)
    training = _training(parameters)
    known, by_fold, losses = wells.metadata, list[Profiles](), list[float]()
    for fold in folds:
        teaches = _taught_by(known, fold.learned_from, held_out_plates, doses)
        features = _standardised(wells.features, teaches)
        learned = PlateCells(
            "all plates",
            features[teaches],
            np.arange(int(teaches.sum()) + 1),
            known[teaches].reset_index(drop=True),
        )
        trained = train_network([learned], fold.learned_from, training, progress=progress)
        with prepared(training.device, training.threads, training.seed):
            found = on_plate(trained.network, learned).profiles_of(features, np.arange(len(features) + 1))
        names = tuple(FEATURE.format(place) for place in range(found.shape[1]))
        by_fold.append(Profiles(known, found.astype(np.float64), names))
        losses.append(trained.history[-1].train_loss)
    fold_of = {name: place for place, fold in enumerate(folds) for name in fold.held_out}
    return CrossFit(CrossFittedProfiles(tuple(by_fold), COMPOUND, fold_of), folds, tuple(losses))


def _taught_by(
    wells: pd.DataFrame, compounds: Collection[str], held_out_plates: tuple[str, ...], doses: DoseParameters
) -> BoolArray:
    """Which wells (W,) teach, where these compounds do."""
    of_compounds = wells[COMPOUND].astype(str).isin(list(compounds)).to_numpy(np.bool_)
    of_plates = ~wells[PLATE].isin(held_out_plates).to_numpy(np.bool_)
    return of_compounds & of_plates & of_learned_doses(wells, held_out_plates, doses)


def _training(parameters: SupervisedProfilesParameters) -> TrainingParameters:
    """CytoSummaryNet's, of sets of two draws: one from each of two wells, or both from the one profile of a well."""
    preset = PRESETS[parameters.preset]
    sets = SetParameters(
        sets_per_compound=preset.sets.sets_per_compound,
        share_of_two_wells=preset.sets.share_of_two_wells,
        mean_cells=2,
        sd_cells=0,
        min_cells=2,
    )
    changes = {
        "summary": Summary.MEAN,
        "sets": sets,
        "max_epochs": parameters.max_epochs,
        "seed": parameters.seed,
        "threads": 1,
        "precision": Precision.FLOAT32,
    }
    return preset.model_copy(update=changes)


def _standardised(features: FloatArray, learned: BoolArray) -> np.ndarray:
    """(W, D) float32, of zero mean and unit variance over the wells that are learned from."""
    mean, sd = features[learned].mean(0), features[learned].std(0)
    varies = sd > 0
    scaled = np.where(varies, (features - mean) / np.where(varies, sd, 1), 0)
    return scaled.astype(np.float32)
