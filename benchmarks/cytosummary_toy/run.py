"""Populations that no mean tells apart: do learned sums? The toy study of CytoSummaryNet's Supplement B, in idea.

Means of wells scatter alike in all populations. These differ in covariance alone, turned another way in each, or in
skewness alone, along another direction in each. Half of the wells of every population are learned from, the others ask
for their likes.
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from numpy.typing import NDArray
from scipy.stats import special_ortho_group

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from cell_assets.evaluation.profiling.well_manifest import COMPOUND, IS_CONTROL
from cell_assets.evaluation.resampling import Estimate, bootstrap_interval
from cell_assets.evaluation.retrieval.profiles import Profiles
from cell_assets.evaluation.retrieval.retrieval import Question, ranked_queries
from cell_assets.evaluation.scores.metrics import mean
from cell_assets.methods.cytosummary.building import network_of
from cell_assets.methods.cytosummary.parameters import TrainingParameters
from cell_assets.methods.cytosummary.plate_cells import PlateCells
from cell_assets.methods.cytosummary.sets import SetParameters
from cell_assets.methods.cytosummary.training import train_network
from cell_assets.reporting.style import ACCENT, INK, MUTED, RIVAL, Sheet, house_style

HERE = Path(__file__).parent
SEEDS = (1, 2, 3, 4, 5)
POPULATIONS, WELLS, CELLS, D = 10, 8, 400, 5
"""The first half of every population's wells is learned from."""
SCALES = np.array([1.5, 1.25, 1.0, 0.8, 0.65])
"""Standard deviations along the axes of a covariance."""
MEAN_SD = 1 / np.sqrt(CELLS)
"""By which wells' means scatter in every direction, whatever the population: a sample's own mean would tell in which
direction its cells scatter most."""
LEARNED = "learned sums"
SAME = Question("Metadata_Population", unit="unit")
Values = NDArray[np.float64]


class Kind(StrEnum):
    """What populations differ in."""

    COVARIANCE = "covariance"
    SKEWNESS = "skewness"


@dataclass(frozen=True)
class Population:
    """Cells around axes of its own."""

    kind: Kind
    turn: Values
    """(D, D), orthonormal columns: the first is the longest axis, or the one that cells are skewed along."""

    def well(self, random: np.random.Generator) -> Values:
        """(CELLS, D)."""
        cells = random.normal(size=(CELLS, D))
        if self.kind is Kind.COVARIANCE:
            cells *= SCALES
        else:
            # Of mean 0 and variance 1, as the other directions are.
            cells[:, 0] = random.exponential(size=CELLS) - 1
        turned = cells @ self.turn.T
        return turned - turned.mean(0) + MEAN_SD * random.normal(size=D)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seeds", default=",".join(map(str, SEEDS)))
    seeds = [int(one) for one in arguments.parse_args().seeds.split(",")]
    results = {kind.value: study(kind, seeds) for kind in Kind}
    (HERE / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (HERE / "figure.png").write_bytes(drawn(results))


def study(kind: Kind, seeds: list[int]) -> dict[str, dict[str, object]]:
    """Mean average precision of every kind of profile over the populations of all seeds."""
    found: dict[str, list[pd.DataFrame]] = {}
    seconds = []
    for seed in seeds:
        started = time.monotonic()
        for name, queries in asked(kind, seed).items():
            found.setdefault(name, []).append(queries)
        seconds.append(round(time.monotonic() - started, 1))
    learned = pd.concat(found[LEARNED])["average_precision"].to_numpy(np.float64)
    result: dict[str, dict[str, object]] = {}
    for name, of_seeds in found.items():
        together = pd.concat(of_seeds)
        own, units = together["average_precision"].to_numpy(np.float64), together["unit"].to_numpy(str)
        result[name] = {
            "found": stated(bootstrap_interval(units, mean(own), seed=0)),
            "gain of learned sums": stated(bootstrap_interval(units, mean(learned - own), seed=0)),
            "by seed": [round(float(one["average_precision"].mean()), 3) for one in of_seeds],
        }
        print(kind, name, result[name], flush=True)
    chance = round(float(pd.concat(found[LEARNED])["chance"].mean()), 3)
    result["study"] = {"chance": chance, "populations": POPULATIONS * len(seeds), "seconds by seed": seconds}
    return result


def asked(kind: Kind, seed: int) -> dict[str, pd.DataFrame]:
    """What the wells that were not learned from find by every kind of profile."""
    random = np.random.default_rng([seed, list(Kind).index(kind)])
    populations = [population(kind, random) for _ in range(POPULATIONS)]
    code = np.repeat(np.arange(POPULATIONS), WELLS)
    wells = np.stack([populations[one].well(random) for one in code]).astype(np.float32)
    seen = np.arange(len(code)) % WELLS < WELLS // 2
    parameters = TrainingParameters.quick().model_copy(
        update={
            "cell_width": 64,
            "hidden_width": 32,
            "profile_width": 32,
            "sets": SetParameters(mean_cells=200, sd_cells=40),
            "learning_rate": 3e-3,
            "max_epochs": 120,
            "seed": seed,
        }
    )
    known = pd.DataFrame({COMPOUND: code[seen].astype(str), IS_CONTROL: False})
    plate = PlateCells("P", wells[seen].reshape(-1, D), np.arange(seen.sum() + 1) * CELLS, known)
    trained = train_network([plate], sorted(set(known[COMPOUND])), parameters).network
    torch.manual_seed(seed)
    fresh = network_of(parameters, D)
    unseen = wells[~seen]
    starts = np.arange(len(unseen) + 1) * CELLS
    profiles = {
        "mean": unseen.mean(1, dtype=np.float64),
        "mean and covariance": np.stack([moments(one) for one in unseen]),
        "sums before learning": fresh.profiles_of(unseen.reshape(-1, D), starts),
        LEARNED: trained.profiles_of(unseen.reshape(-1, D), starts),
    }
    return {name: ranked(values, code[~seen], seed) for name, values in profiles.items()}


def population(kind: Kind, random: np.random.Generator) -> Population:
    """Turned at random."""
    return Population(kind, special_ortho_group.rvs(D, random_state=random.integers(2**31)))


def moments(cells: NDArray[np.float32]) -> Values:
    """Mean and covariance of one well."""
    return np.concatenate([cells.mean(0), np.cov(cells.T)[np.triu_indices(D)]])


def ranked(values: NDArray[np.floating], code: NDArray[np.int64], seed: int) -> pd.DataFrame:
    """Every well asks for those of its population."""
    metadata = pd.DataFrame(
        {"Metadata_Population": code.astype(str), "unit": [f"seed {seed}, population {one}" for one in code]}
    )
    names = tuple(f"profile_{i}" for i in range(values.shape[1]))
    return ranked_queries(Profiles(metadata, values.astype(np.float64), names), SAME)


def stated(found: Estimate) -> list[float]:
    """Value and 95 % interval."""
    assert found.value is not None and found.low is not None and found.high is not None
    return [round(one, 3) for one in (found.value, found.low, found.high)]


@house_style()
def drawn(results: Mapping[str, Mapping[str, Mapping[str, object]]]) -> bytes:
    """By kind, two populations seen along their own axes, and what every kind of profile finds: mean with its 95 %
    interval over populations, and the mean of every seed below it."""
    sheet = Sheet(8.6, 6.4, 2, 2, width_ratios=[1.0, 1.3])
    for (cells, scores), kind in zip(sheet.axes, Kind, strict=True):
        draw_populations(cells, kind)
        draw_scores(scores, kind, results[kind.value])
    return sheet.png()


def draw_populations(axes: Axes, kind: Kind) -> None:
    random = np.random.default_rng([1, list(Kind).index(kind)])
    pair = [population(kind, random) for _ in range(2)]
    first = pair[0].turn[:, 0]
    second = pair[1].turn[:, 0] - (pair[1].turn[:, 0] @ first) * first
    plane = np.stack([first, second / np.linalg.norm(second)], 1)
    for one, colour in zip(pair, (ACCENT, RIVAL), strict=True):
        seen = one.well(random) @ plane
        axes.scatter(*seen.T, s=5, color=colour, alpha=0.6, linewidths=0)
    axes.plot(0, 0, "+", color=INK, markersize=12, markeredgewidth=2)
    axes.set_aspect("equal", "datalim")
    axes.set_xlabel("along the axis of one population")
    axes.set_ylabel("and of the other")
    axes.set_title(f"Two wells: equal means (+), other {kind}")


def draw_scores(axes: Axes, kind: Kind, results: Mapping[str, Mapping[str, object]]) -> None:
    names = [name for name in results if name != "study"]
    chance = results["study"]["chance"]
    assert isinstance(chance, float)
    axes.axvline(chance, color=MUTED, linestyle=":", label="chance")
    for place, name in enumerate(reversed(names)):
        found, by_seed = results[name]["found"], results[name]["by seed"]
        assert isinstance(found, list) and isinstance(by_seed, list)
        value, low, high = found
        colour = ACCENT if name == LEARNED else RIVAL
        axes.plot([low, high], [place, place], color=colour, linewidth=2.5)
        axes.plot(value, place, "o", color=colour, markersize=7)
        axes.plot(by_seed, np.full(len(by_seed), place - 0.25), "|", color=MUTED, markersize=6)
    axes.set_yticks(range(len(names)), reversed(names))
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.set_xlim(0, 1.03)
    axes.set_xlabel("mean average precision")
    axes.set_title(f"Found where only {kind} differs")
    axes.legend(loc="upper right")


if __name__ == "__main__":
    main()
