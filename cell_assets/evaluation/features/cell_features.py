"""Measured features beside the embedded cells, and the threshold on a ratio that an embedding has to beat."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cell_assets.evaluation.scores.task_scores import Baseline
from cell_assets.imaging.features.frame_features import ratio_column
from cell_assets.imaging.features.plate_features import INDEX_COLUMNS, read_features, read_features_record

MOST_UNKNOWN = 0.1
"""Share of cell images up to which a ratio that is not known is filled in: more would be a rival made of medians."""

_KEYS = ["plate", "fov_name", "track_id", "t"]


@dataclass(frozen=True)
class CellFeatures:
    """single_cell_features of the embedded cells."""

    values: pd.DataFrame
    """N rows in the order of the cells, one float64 column per feature; NaN where it could not be computed."""
    channels: Mapping[str, str]
    """Channel to its part of a column's name."""

    def of_channel(self, channel: str) -> tuple[str, ...]:
        """The columns measured in one channel."""
        part = re.escape(self.channels[channel])
        named = re.compile(rf"[A-Za-z]+_[A-Za-z]+_[A-Za-z]+_{part}(_\d+(of\d+)?)?")
        return tuple(str(column) for column in self.values.columns if named.fullmatch(str(column)))

    def ratio(self, channel: str) -> pd.Series | None:
        """(N,) nuclear over cytoplasmic mean; None for a channel that is not there or is no fluorescence."""
        column = ratio_column(self.channels[channel]) if channel in self.channels else ""
        return self.values.get(column)

    def interquartile_ranges(self) -> pd.DataFrame:
        """N rows, `Nuclei_Intensity_InterquartileRange_<channel>` of every channel whose quartiles were measured.

        In the pixels' unit; one of the features that DynaCLR names beside its Figure 3e.
        """
        found = {}
        for part in self.channels.values():
            lower, upper = (
                f"Nuclei_Intensity_{which}QuartileIntensity_{part}" for which in ("Lower", "Upper")
            )
            if lower in self.values and upper in self.values:
                found[f"Nuclei_Intensity_InterquartileRange_{part}"] = self.values[upper] - self.values[lower]
        return pd.DataFrame(found, index=self.values.index)


def join_features(cells: pd.DataFrame, folders: Mapping[str, Path]) -> CellFeatures:
    """The features of `cells` (plate, fov_name, track_id, t) from the single_cell_features folder of each plate.

    A feature that one plate has and another has not, for want of the channel, is missing in the latter's cells.
    """
    channels: dict[str, str] = {}
    tables = []
    for plate, folder in folders.items():
        channels |= read_features_record(folder).channels
        table = read_features(folder).assign(plate=plate)
        tables.append(table.drop(columns=[name for name in INDEX_COLUMNS if name not in _KEYS]))
    measured = pd.concat(tables, ignore_index=True).astype({"plate": str, "fov_name": str})
    asked = cells[_KEYS].astype({"plate": str, "fov_name": str})
    joined = asked.merge(measured, on=_KEYS, how="left", validate="one_to_one")
    return CellFeatures(joined.drop(columns=_KEYS).astype(np.float64), channels)


def ratio_baselines(features: CellFeatures) -> tuple[list[Baseline], tuple[str, ...]]:
    """The nuclear over the cytoplasmic mean of each fluorescence channel, and what a reader should know of it.

    The one-feature probe on it is a threshold on the ratio, as it is put on a translocating sensor. A cell image
    whose ratio is not known gets the median of the others: left out, it would make the scores of other rows than the
    embedding's. Where more than `MOST_UNKNOWN` of them are not known, the baseline has no value, and says so.
    """
    baselines, notes = [], []
    for channel, part in features.channels.items():
        ratio = features.ratio(channel)
        if ratio is None:
            continue
        n_missing = int(ratio.isna().sum())
        title = f"nuclear/cytoplasmic ratio of {channel} alone"
        if 0 < n_missing <= MOST_UNKNOWN * len(ratio):
            notes.append(
                f"{title}: not known of {n_missing} of {len(ratio)} cell images (no label, no ring, or a ring as "
                "dark as the background), which get the median of the others."
            )
            ratio = ratio.fillna(ratio.median())
        baselines.append(Baseline(f"ratio_{part}", title, ratio.to_numpy(np.float64)))
    return baselines, tuple(notes)
