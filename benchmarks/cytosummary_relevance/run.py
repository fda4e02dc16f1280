"""Are the least relevant cells debris, and do means find more without them? On simulated cells, whose truth is known.

`benchmarks/cytosummary_relevance/run.py BBBC021.csv [--seeds 1,2,3]`: every well's cells are scored by the network that
did not learn from its compound; those of control wells by all networks. Rules are applied to plates that they were not
distilled from.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.cytosummary_moa.difficulty import (
    CONTROL,
    MECHANISM,
    SEEDS,
    named_profiles,
    treatments_asking,
    wells_of_plates,
)
from benchmarks.cytosummary_moa.run import N_FOLDS, TREATMENT, interval, plate_cells
from cell_assets.evaluation.profiling.profile_parameters import RuleParameters
from cell_assets.evaluation.profiling.relevance_study import (
    debris_found,
    kept_cells,
    means_of_kept,
    paired_retrieval,
    randomly_kept_cells,
    relevance_correlations,
)
from cell_assets.evaluation.profiling.rule_distilling import distil_rule
from cell_assets.evaluation.resampling import Estimate
from cell_assets.evaluation.retrieval.profiles import Profiles, read_profiles, treatment_profiles
from cell_assets.methods.cytosummary.building import network_of
from cell_assets.methods.cytosummary.network import CytoSummaryNet
from cell_assets.methods.cytosummary.parameters import Positives, TrainingParameters
from cell_assets.methods.cytosummary.plate_cells import PlateCells
from cell_assets.methods.cytosummary.relevance import Relevance, cell_relevance
from cell_assets.methods.cytosummary.training import train_network
from cell_assets.simulation.cell_populations import (
    Object,
    PopulationParameters,
    Screen,
    SimulatedWell,
    simulate_populations,
)

HERE = Path(__file__).parent
NORM = "Cells_AllFeatures_Norm"
"""Root mean square of a cell's features: what no rule of few features sees otherwise."""
ALL, RANDOM = "all cells", "without a random 20 %"
AT_RANDOM = "as many at random as "
Kept = NDArray[np.bool_]
Scores = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Cells:
    """N cells of all plates, plate by plate and well by well."""

    features: NDArray[np.float32]
    """(N, D), standardised over all cells of a plate."""
    starts: NDArray[np.int64]
    """(W + 1,)."""
    rows: NDArray[np.int64]
    """(W,) of the screen's wells."""
    objects: NDArray[np.int8]
    """(N,) codes of `Object`."""

    @property
    def norm(self) -> NDArray[np.float64]:
        """(N,) root mean square of features."""
        return np.sqrt(np.square(self.features, dtype=np.float64).mean(1))

    @property
    def per_well(self) -> NDArray[np.int64]:
        return np.diff(self.starts)

    @classmethod
    def of(cls, screen: Screen, simulated: list[SimulatedWell], plates: list[PlateCells]) -> "Cells":
        rows = np.concatenate([rows for _, rows in wells_of_plates(screen)])
        return cls(
            np.concatenate([plate.features for plate in plates]),
            np.cumsum([0, *(len(simulated[row].objects) for row in rows)]),
            rows,
            np.concatenate([simulated[row].objects for row in rows]),
        )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("wells", type=Path)
    arguments.add_argument("--seeds", default=",".join(map(str, SEEDS)))
    asked = arguments.parse_args()
    wells = read_profiles(asked.wells)
    results: dict[str, object] = {}
    queries: dict[str, list[pd.DataFrame]] = {}
    for seed in map(int, asked.seeds.split(",")):
        results[f"seed {seed}"], found = study(wells, seed)
        for name, of_seed in found.items():
            queries.setdefault(name, []).append(of_seed)
    results["mean over seeds"] = over_seeds(queries)
    (HERE / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def study(wells: Profiles, seed: int) -> tuple[dict[str, object], dict[str, pd.DataFrame]]:
    """Everything of one seed, and what every treatment finds by each choice of cells."""
    screen = Screen.of(wells, CONTROL, seed)
    simulated = list(simulate_populations(screen, PopulationParameters(seed=seed)))
    plates = plate_cells(screen, simulated)
    cells = Cells.of(screen, simulated, plates)
    trained, untrained = scores_of_cells(screen, plates, cells, seed)
    norm = cells.norm
    scores = {
        "combined relevance": trained.combined,
        "lesser rank": trained.lesser_rank,
        "sensitivity": trained.sensitivity,
        "activation": trained.activation,
        "untrained, combined relevance": untrained.combined,
        "untrained, lesser rank": untrained.lesser_rank,
        "low norm": norm,
        "high norm": -norm,
        "unusual norm": -np.abs(np.log(norm / medians_of_wells(norm, cells))),
    }
    rules, left_out = rules_of_plates(
        screen,
        cells,
        {name: scores[name] for name in ("combined relevance", "lesser rank", "sensitivity")},
        seed,
    )
    kept = choices(cells, scores, left_out, seed)
    profiles = {name: mean_profiles(screen, cells, one) for name, one in kept.items()}
    result = {
        "cells": len(cells.features),
        "debris": debris(scores, cells, seed),
        "correlations": correlations(screen, trained.combined, cells, seed),
        "rules": rules,
        "mechanisms found by means": comparisons(screen, profiles, kept, seed),
    }
    print(seed, json.dumps(result, indent=1), flush=True)
    return result, {name: treatments_asking(one).sort_values(TREATMENT) for name, one in profiles.items()}


def scores_of_cells(
    screen: Screen, plates: list[PlateCells], cells: Cells, seed: int
) -> tuple[Relevance, Relevance]:
    """By the networks that did not learn from a well's compound, and by one that learned nothing."""
    known = screen.wells.metadata
    name = known["Metadata_Compound"].to_numpy(str)[cells.rows]
    is_control = (known["Metadata_moa"] == CONTROL).to_numpy()[cells.rows]
    # As in `cytosummary_profiles`: a control well asks for none and is no answer.
    alone = len(name) + np.arange(len(name))
    codes = np.where(is_control, alone, np.unique(name, return_inverse=True)[1]).astype(np.int64)
    compounds = np.unique(name[~is_control])
    order = np.random.default_rng([seed, 9]).permutation(compounds)
    fold = {str(one): place % N_FOLDS for place, one in enumerate(order)}
    parameters = TrainingParameters.quick().model_copy(
        update={"positives": Positives.ACROSS_PLATES, "max_epochs": 60, "seed": seed}
    )
    parts = np.zeros((4, len(cells.features)))
    for held_out in range(N_FOLDS):
        learned = [one for one in compounds.tolist() if fold[one] != held_out]
        network = train_network(plates, learned, parameters).network
        assert isinstance(network, CytoSummaryNet)
        own = np.array([fold.get(one) == held_out for one in name])
        share = np.where(is_control, 1 / N_FOLDS, own.astype(np.float64)).repeat(cells.per_well)
        found = cell_relevance(network, cells.features, cells.starts, codes)
        parts += share * np.stack([found.sensitivity, found.activation, found.combined, found.lesser_rank])
    torch.manual_seed(seed)
    fresh = network_of(parameters, cells.features.shape[1])
    assert isinstance(fresh, CytoSummaryNet)
    return Relevance(*parts), cell_relevance(fresh, cells.features, cells.starts, codes)


def medians_of_wells(values: NDArray[np.float64], cells: Cells) -> NDArray[np.float64]:
    """(N,), the same for all cells of a well."""
    of_wells = [np.median(one) for one in np.split(values, cells.starts[1:-1])]
    return np.repeat(of_wells, cells.per_well)


def rules_of_plates(
    screen: Screen, cells: Cells, scores: Scores, seed: int
) -> tuple[dict[str, object], dict[str, Kept]]:
    """Rules of each half of the weeks, and which cells the other half's rule leaves out; by score and features."""
    week = screen.wells.metadata["Metadata_Plate"].str.partition("_")[0].to_numpy(str)[cells.rows]
    half = np.isin(week, np.random.default_rng([seed, 10]).permutation(np.unique(week))[::2])
    names = tuple(screen.wells.names)
    norm = standardised_norm(screen, cells).astype(np.float32)
    measured = {
        "features": (cells.features, names),
        "features and norm": (np.column_stack([cells.features, norm]), (*names, NORM)),
    }
    said: dict[str, object] = {}
    left_out = {}
    for score, relevance in scores.items():
        least = ~kept_cells(relevance, cells.starts)
        for kind, (features, of_features) in measured.items():
            found = np.zeros(len(least), bool)
            sentences = []
            for learns in (half, ~half):
                own = learns.repeat(cells.per_well)
                starts = np.cumsum([0, *cells.per_well[learns]])
                rule = distil_rule(
                    relevance[own], features[own], of_features, starts, RuleParameters(seed=seed)
                )
                found[~own] = rule.leaves_out(features[~own], of_features)
                sentences.append(rule.sentence)
            left_out[f"{score} on {kind}"] = found
            said[f"{score} on {kind}"] = {"rules": sentences, **agreement(found, least, cells)}
    return said, left_out


def agreement(left_out: Kept, least: Kept, cells: Cells) -> dict[str, float | None]:
    """Whether a rule leaves out what it was distilled from, and debris."""
    is_debris = cells.objects >= Object.BRIGHT_DEBRIS
    return {
        "share of cells left out": rounded(left_out.mean()),
        "of these among the least relevant": rounded(least[left_out].mean()) if left_out.any() else None,
        "of the least relevant left out": rounded(left_out[least].mean()),
        "of these debris": rounded(is_debris[left_out].mean()) if left_out.any() else None,
        "of debris left out": rounded(left_out[is_debris].mean()),
    }


def standardised_norm(screen: Screen, cells: Cells) -> NDArray[np.float64]:
    """(N,) norms in standard deviations of their plate's."""
    plate = screen.wells.metadata["Metadata_Plate"].to_numpy(str)[cells.rows].repeat(cells.per_well)
    by_plate = pd.Series(cells.norm).groupby(plate)
    return ((cells.norm - by_plate.transform("mean")) / by_plate.transform("std", ddof=0)).to_numpy()


def choices(cells: Cells, scores: Scores, left_out: Mapping[str, Kept], seed: int) -> dict[str, Kept]:
    """Which cells means are taken over."""
    kept = {
        ALL: np.ones(len(cells.features), bool),
        "without the least relevant 20 %": kept_cells(scores["combined relevance"], cells.starts),
        "without the 20 % of least lesser rank": kept_cells(scores["lesser rank"], cells.starts),
        "without the 20 % of most lesser rank": kept_cells(-scores["lesser rank"], cells.starts),
        "without the least sensitive 20 %": kept_cells(scores["sensitivity"], cells.starts),
        "without the most relevant 20 %": kept_cells(-scores["combined relevance"], cells.starts),
        "untrained, without the least relevant 20 %": kept_cells(
            scores["untrained, combined relevance"], cells.starts
        ),
        "untrained, without the 20 % of least lesser rank": kept_cells(
            scores["untrained, lesser rank"], cells.starts
        ),
        "without the 20 % of lowest norm": kept_cells(scores["low norm"], cells.starts),
        "without the 20 % of highest norm": kept_cells(scores["high norm"], cells.starts),
        "without the 20 % of most unusual norm": kept_cells(scores["unusual norm"], cells.starts),
        "without true debris": cells.objects < Object.BRIGHT_DEBRIS,
    }
    kept[RANDOM] = randomly_kept_cells(kept["without the least relevant 20 %"], cells.starts, seed=seed)
    for kind, found in left_out.items():
        by_rule = ~found
        # A well of which the rule leaves no cell has its mean over all of them.
        empty = np.add.reduceat(by_rule, cells.starts[:-1], dtype=np.int64) == 0
        by_rule |= empty.repeat(cells.per_well)
        name = f"by the rule of {kind}"
        kept[name] = by_rule
        kept[AT_RANDOM + name] = randomly_kept_cells(by_rule, cells.starts, seed=seed)
    return kept


def mean_profiles(screen: Screen, cells: Cells, kept: Kept) -> Profiles:
    """Means of wells, scaled by the plate's control wells."""
    means = np.empty((len(cells.rows), cells.features.shape[1]))
    means[cells.rows] = means_of_kept(cells.features, kept, cells.starts)
    is_control = (screen.wells.metadata["Metadata_moa"] == CONTROL).to_numpy()
    for _, rows in wells_of_plates(screen):
        control = means[rows][is_control[rows]]
        middle = np.median(control, axis=0)
        spread = 1.4826 * np.median(np.abs(control - middle), axis=0)
        means[rows] = (means[rows] - middle) / np.maximum(spread, 1e-6)
    return named_profiles(screen, means)


def debris(scores: Scores, cells: Cells, seed: int) -> dict[str, object]:
    """AUROC of either kind of debris by every score, and what relevance has over each other."""
    is_cell = cells.objects < Object.BRIGHT_DEBRIS
    kinds = {"bright": Object.BRIGHT_DEBRIS, "faint": Object.FAINT_DEBRIS}
    said: dict[str, object] = {}
    for kind, code in kinds.items():
        found = debris_found(scores, cells.objects == code, is_cell, cells.starts, seed=seed)
        said[kind] = {name: stated(one.auroc) for name, one in found.items()}
        said[f"{kind}, gain of combined relevance"] = {
            name: stated(gain) for name, gain in found["combined relevance"].gain.items()
        }
    return said


def correlations(
    screen: Screen, relevance: NDArray[np.float64], cells: Cells, seed: int
) -> dict[str, dict[str, list[float]]]:
    """The five features that go with relevance most, the five that go against it most, and the norm."""
    found = relevance_correlations(
        relevance, cells.features, tuple(screen.wells.names), cells.starts, seed=seed
    )
    (norm,) = relevance_correlations(
        relevance, cells.norm[:, None].astype(np.float32), (NORM,), cells.starts, seed=seed
    )
    return {
        "norm": {NORM: stated(norm.correlation)},
        "most": {one.feature: stated(one.correlation) for one in found[:5]},
        "least": {one.feature: stated(one.correlation) for one in found[-5:]},
    }


def comparisons(
    screen: Screen, profiles: Mapping[str, Profiles], kept: Mapping[str, Kept], seed: int
) -> dict[str, object]:
    """Mean average precision by every choice of cells, and its gain over all cells and over as many at random."""
    treatments = {
        name: treatment_profiles(one.select(one.metadata["Metadata_moa"] != CONTROL), TREATMENT)
        for name, one in profiles.items()
    }
    said: dict[str, object] = {}
    for name, one in treatments.items():
        found = paired_retrieval(one, treatments[ALL], MECHANISM, seed=seed)
        asked = treatments_asking(profiles[name])
        kinds = asked["average_precision"].groupby(asked["Metadata_moa"].map(screen.differences)).mean()
        rival = AT_RANDOM + name if AT_RANDOM + name in treatments else RANDOM
        against = paired_retrieval(one, treatments[rival], MECHANISM, seed=seed)
        said[name] = {
            "cells kept": rounded(kept[name].mean()),
            "found": stated(found.one),
            "gain over all cells": stated(found.gain),
            "gain over as many at random": stated(against.gain),
            "by difference": {str(kind): rounded(value) for kind, value in kinds.items()},
        }
    return said


def over_seeds(queries: Mapping[str, list[pd.DataFrame]]) -> dict[str, object]:
    """Every treatment's average precision as the mean over seeds, with intervals over compounds."""
    first = queries[ALL][0]
    precision = {
        name: pd.Series(np.mean([one["average_precision"].to_numpy() for one in of_seeds], axis=0))
        for name, of_seeds in queries.items()
    }
    said: dict[str, object] = {}
    for name, values in precision.items():
        said[name] = {
            "found": [rounded(one) for one in interval(values, first, 0)],
            "gain over all cells": [rounded(one) for one in interval(values - precision[ALL], first, 0)],
            "gain over as many at random": [
                rounded(one)
                for one in interval(values - precision.get(AT_RANDOM + name, precision[RANDOM]), first, 0)
            ],
        }
    return said


def stated(found: Estimate) -> list[float]:
    """Value and 95 % interval."""
    assert found.value is not None and found.low is not None and found.high is not None
    return [rounded(one) for one in (found.value, found.low, found.high)]


def rounded(value: float) -> float:
    return round(float(value), 3)


if __name__ == "__main__":
    main()
