"""From published mean_profiles to the supervised_profiles artifact."""

from collections.abc import Mapping
from pathlib import Path

from cell_assets.evaluation.profiling.learned_doses import ALL_DOSES, DoseParameters
from cell_assets.evaluation.profiling.profile_parameters import ProfileSelectionParameters
from cell_assets.evaluation.profiling.profile_selection import selected_profiles
from cell_assets.evaluation.profiling.supervised_profiles import (
    SupervisedProfilesRecord,
    write_supervised_profiles,
)
from cell_assets.methods.contract import ProgressSink
from cell_assets.methods.supervised_profiles.heads import cross_fit
from cell_assets.methods.supervised_profiles.parameters import SupervisedProfilesParameters


def make_supervised_profiles(
    mean_profiles: Mapping[str, Path],
    selection: ProfileSelectionParameters,
    held_out_plates: tuple[str, ...],
    parameters: SupervisedProfilesParameters,
    out: Path,
    progress: ProgressSink | None = None,
    doses: DoseParameters = ALL_DOSES,
) -> None:
    """Write them into the existing folder `out`.

    Args:
        mean_profiles: published folders by plate.
        selection: of the features, as the report selects them, so that what a head gains is not other features'.
        held_out_plates: from which no head learns.
        doses: from which heads learn.

    Raises:
        BadInputError: a plate has no such profiles, or there are too few compounds for as many folds.
    """
    fits = {
        one: cross_fit(
            selected_profiles(mean_profiles, one, selection).profiles,
            held_out_plates,
            parameters,
            progress,
            doses,
        )
        for one in parameters.representations
    }
    record = SupervisedProfilesRecord(
        # A plate's representations are of the same wells, and so are the folds of all.
        folds=next(iter(fits.values())).folds,
        held_out_plates=held_out_plates,
        doses=doses,
        train_loss={one: fit.train_loss for one, fit in fits.items()},
    )
    write_supervised_profiles({one: fit.profiles for one, fit in fits.items()}, record, out)
