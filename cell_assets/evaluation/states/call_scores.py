"""How many annotated cells a probe's calls are right about, one by one and each by its track."""

from dataclasses import dataclass

import numpy as np

from cell_assets.evaluation.resampling import Estimate, bootstrap_interval
from cell_assets.evaluation.scores import metrics
from cell_assets.evaluation.scores.probes import DECISION
from cell_assets.evaluation.scores.scoring import resampled_unit
from cell_assets.evaluation.splits import Split, SplitUnit
from cell_assets.evaluation.states.onset import along_tracks
from cell_assets.evaluation.states.state_calls import StateCalls
from cell_assets.evaluation.units import BoolArray, plural, unit_ids


@dataclass(frozen=True)
class CallScores:
    """Balanced accuracy on annotated test cells."""

    by_track: Estimate
    gain: Estimate
    """Over the same probe's calls of single cells, on the same resamples."""
    units_name: str
    """What was resampled, for example `FOVs`."""


def score_calls(calls: StateCalls, seed: int, n_resamples: int) -> CallScores:
    """Of a state that lasts: what a cell's other frames add to its own."""
    wanted = (calls.rows["split"] == Split.TEST) & calls.rows["annotated"].notna()
    scored = calls.rows[wanted]
    label = scored["annotated"].to_numpy(dtype=np.bool_)
    finest = SplitUnit.LINEAGE if "lineage_root" in scored.columns else SplitUnit.TRACK
    unit = resampled_unit(scored, (SplitUnit.FOV, finest))
    if scored.empty:
        none = Estimate.missing("no test cell is annotated")
        return CallScores(none, none, plural(unit))

    def accuracy(called: StateCalls) -> metrics.Statistic:
        probability = called.rows.loc[wanted, "probability"].to_numpy(dtype=np.float64)
        predicted: BoolArray = probability >= DECISION
        return metrics.balanced_accuracy(label, predicted)

    tracked, single = accuracy(along_tracks(calls)), accuracy(calls)
    units = unit_ids(scored, unit)
    return CallScores(
        bootstrap_interval(units, tracked, seed=seed, n_resamples=n_resamples),
        bootstrap_interval(units, metrics.difference(tracked, single), seed=seed, n_resamples=n_resamples),
        plural(unit),
    )
