"""Rivals of the embedding on independent plates: those of the experiment's own plates, measured on both."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from cell_assets.evaluation.features.cell_features import MOST_UNKNOWN, CellFeatures, ratio_baselines
from cell_assets.evaluation.scores.task_scores import Baseline
from cell_assets.evaluation.studies.embedding_study import length_alone
from cell_assets.imaging.features.plate_features import read_features_record

_OF_RATIOS = ("ring_width_um", "background_percentile")
"""The parameters that decide a nuclear/cytoplasmic ratio."""


def length_of_both(own: pd.DataFrame, independent: pd.DataFrame) -> list[Baseline]:
    """Cell length of own and then independent cells; one that an independent cell lacks is then said to be missing."""
    both = pd.concat([own["length_um"], independent["length_um"]], ignore_index=True)
    length = pd.to_numeric(both, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    return [replace(rival, values=length) for rival in length_alone(own)]


def ratios_of_both(own: CellFeatures, independent: CellFeatures) -> tuple[list[Baseline], tuple[str, ...]]:
    """`ratio_baselines` of the own cells, followed by independent ones, and what a reader should know of the latter.

    What is not known of an independent cell becomes the median of the own cells, as it does for these: a median of the
    independent ones would be something learned from them. Where that would be more than `MOST_UNKNOWN` of them, as on
    plates without the channel, nothing is filled in, and the baseline has no value and says so.
    """
    baselines, notes = [], []
    own_ratios = {channel: ratio for channel in own.channels if (ratio := own.ratio(channel)) is not None}
    for rival, (channel, mine) in zip(ratio_baselines(own)[0], own_ratios.items(), strict=True):
        theirs = independent.ratio(channel)
        if theirs is None:
            theirs = pd.Series(np.nan, index=independent.values.index)
        n_missing = int(theirs.isna().sum())
        if 0 < n_missing <= MOST_UNKNOWN * len(theirs):
            notes.append(
                f"Independent plates: {rival.title}: not known of {n_missing} of {len(theirs)} cell images, which get "
                "the median of the experiment's own."
            )
            theirs = theirs.fillna(mine.median())
        values = np.concatenate([rival.values, theirs.to_numpy(np.float64)])
        baselines.append(replace(rival, values=values))
    return baselines, tuple(notes)


def measured_otherwise(own: Mapping[str, Path], independent: Mapping[str, Path]) -> tuple[str, ...]:
    """What a reader should know of ratios, where a plate's experiment chose another way to measure them.

    Args:
        own: single_cell_features folders by plate, of one experiment.
        independent: of plates of others.
    """
    if not own:
        return ()
    mine = read_features_record(next(iter(own.values()))).parameters.model_dump(include=set(_OF_RATIOS))
    notes = []
    for plate, folder in sorted(independent.items()):
        theirs = read_features_record(folder).parameters.model_dump(include=set(_OF_RATIOS))
        differing = [
            f"{name} {theirs[name]:g} and not {mine[name]:g}" for name in mine if theirs[name] != mine[name]
        ]
        if differing:
            notes.append(
                f"Independent plates: ratios of {plate} were measured with {', '.join(differing)} as the experiment's "
                "own; the threshold on a ratio is then put on another measurement."
            )
    return tuple(notes)
