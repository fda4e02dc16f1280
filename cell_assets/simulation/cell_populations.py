"""Single cells around measured well profiles, of populations that differ in ways that a mean can and cannot see.

For want of real single-cell tables of many compounds: means, plates, layouts, compounds and mechanisms are those of a
real screen, what cells do around the means is simulated, and every number made from them must say so.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from zlib import crc32

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from cell_assets.errors import BadInputError
from cell_assets.evaluation.retrieval.profiles import Profiles
from cell_assets.evaluation.units import FloatArray
from cell_assets.simulation.parameters import CheckedParameters, Share

_SHARED = 0.6
"""Of a feature's variance, what it has from factors that features share."""
_MIXED_DIRECTIONS = 4
"""Directions in which a plate's optics mix features."""


class Difference(StrEnum):
    """How the cells of a mechanism differ from untreated ones."""

    MEAN = "mean"
    """All cells move, as far as the measured profile says."""
    COVARIANCE = "covariance"
    """Two groups of features become correlated; the mean and variance of every feature stay."""
    SUBPOPULATION = "subpopulation"
    """Some cells move one way and the others a little the other way, so that the mean stays."""
    DEBRIS = "debris"
    """As `MEAN`, but a share of the objects, another one in every well, is debris."""


class Object(IntEnum):
    """What a row of the table is."""

    CELL = 0
    SUBPOPULATION = 1
    """A cell that moved with its subpopulation."""
    BRIGHT_DEBRIS = 2
    """Far outside, with a large norm."""
    FAINT_DEBRIS = 3
    """Nothing in particular, with a small norm."""


class PopulationParameters(CheckedParameters):
    """The defaults are the difficulty that models are compared at; they stood before any model learned from them."""

    seed: int = Field(default=0, ge=0)
    cells_per_well: float = Field(default=400, gt=0)
    """Mean; numbers are normal with a third of it as standard deviation, and 20 at least."""
    density: float = Field(default=1.0, gt=0)
    """Factor on the number of cells of every well."""
    factors: int = Field(default=16, ge=4)
    """What features share: they are far from independent."""
    mean_scale: float = Field(default=0.08, ge=0)
    """Standard deviations of single cells in a unit of the measured profiles (which are in those of control wells)."""
    correlation: float = Field(default=0.8, ge=0, lt=1)
    """Of the two factors that `COVARIANCE` couples."""
    subpopulation_share: Share = 0.15
    subpopulation_shift: float = Field(default=2.5, ge=0)
    """Standard deviations, along a direction of the mechanism's own."""
    compound_share: Share = 0.3
    """Of a direction's length, what compounds of one mechanism do not have in common."""
    debris_share: Share = 0.02
    """Of all objects, everywhere."""
    most_debris: Share = 0.5
    """In wells of `DEBRIS`, whose share is drawn evenly from `debris_share` to this."""
    bright_norm: float = Field(default=4.0, gt=0)
    """Of bright debris, over that of a cell."""
    plate_offset: float = Field(default=0.3, ge=0)
    """Standard deviations by which a plate moves every feature (stain, illumination)."""
    plate_mixing: float = Field(default=0.2, ge=0)
    """How far a plate turns its features into each other, which no standardisation of features undoes."""


@dataclass(frozen=True)
class SimulatedWell:
    """n objects of one well."""

    row: int
    """Of the profiles that it was drawn around."""
    features: NDArray[np.float32]
    """(n, D)."""
    objects: NDArray[np.int8]
    """(n,) codes of `Object`."""


@dataclass(frozen=True)
class Screen:
    """W measured wells, and which of them show what."""

    wells: Profiles
    """With `Metadata_Plate, Metadata_Compound, Metadata_moa`."""
    differences: dict[str, Difference]
    """By mechanism; none of the control."""
    control: str
    """The mechanism of untreated wells."""

    @classmethod
    def of(cls, wells: Profiles, control: str, seed: int) -> "Screen":
        """Mechanisms in a random order take the four differences in turn.

        Raises:
            BadInputError: a plate has no control well, which means are taken from.
        """
        known = wells.metadata
        without = set(known["Metadata_Plate"]) - set(
            known.loc[known["Metadata_moa"] == control, "Metadata_Plate"]
        )
        if without:
            raise BadInputError(
                f"plates {', '.join(sorted(without)[:5])} have no well of {control}; leave them out or name the control"
            )
        mechanisms = np.array(sorted(set(known["Metadata_moa"]) - {control}))
        order = np.random.default_rng([seed, 1]).permutation(mechanisms)
        kinds = list(Difference)
        return cls(wells, {str(name): kinds[i % len(kinds)] for i, name in enumerate(order)}, control)


def simulate_populations(screen: Screen, parameters: PopulationParameters) -> Iterator[SimulatedWell]:
    """The cells of every well, in the order of the wells; equal seeds give equal cells, whichever wells are asked for
    beside them."""
    known = screen.wells.metadata
    loadings = _loadings(parameters, screen.wells.features.shape[1])
    untreated = known.groupby("Metadata_Plate").groups
    is_control = (known["Metadata_moa"] == screen.control).to_numpy()
    for row, (plate, compound, moa) in enumerate(
        zip(known["Metadata_Plate"], known["Metadata_Compound"], known["Metadata_moa"], strict=True)
    ):
        random = np.random.default_rng([parameters.seed, 2, row])
        difference = screen.differences.get(moa)
        if difference in (Difference.COVARIANCE, Difference.SUBPOPULATION):
            controls = [one for one in untreated[plate] if is_control[one]]
            mean = screen.wells.features[random.choice(controls)]
        else:
            mean = screen.wells.features[row]
        n = max(20, round(parameters.density * parameters.cells_per_well * random.normal(1, 1 / 3)))
        around, objects = _around(random, parameters, loadings, difference, (moa, compound), n)
        cells = parameters.mean_scale * mean + around
        _replace_by_debris(random, parameters, cells, objects, difference)
        yield SimulatedWell(row, _seen_on(plate, cells, parameters).astype(np.float32), objects)


def _loadings(parameters: PopulationParameters, features: int) -> FloatArray:
    """(K, D), columns of length 1: how every feature is made of the factors."""
    loadings = np.random.default_rng([parameters.seed, 3]).normal(size=(parameters.factors, features))
    return np.asarray(loadings / np.linalg.norm(loadings, axis=0))


def _around(
    random: np.random.Generator,
    parameters: PopulationParameters,
    loadings: FloatArray,
    difference: Difference | None,
    treatment: tuple[str, str],
    n: int,
) -> tuple[FloatArray, NDArray[np.int8]]:
    """(n, D) cells around a mean of 0, of unit variance where the population is one; and what each is."""
    factors = random.normal(size=(n, parameters.factors))
    widened = np.ones(loadings.shape[1])
    objects = np.full(n, Object.CELL, np.int8)
    first, second = _directions(parameters, treatment)
    if difference is Difference.COVARIANCE:
        r = parameters.correlation
        along, across = factors @ first, factors @ second
        factors += np.outer(r * along + (np.sqrt(1 - r**2) - 1) * across, second)
        # What the coupling adds to each feature's variance is taken out again.
        widened = np.sqrt(1 + 2 * r * (first @ loadings) * (second @ loadings))
    elif difference is Difference.SUBPOPULATION:
        share, shift = parameters.subpopulation_share, parameters.subpopulation_shift
        moved = random.random(n) < share
        objects[moved] = Object.SUBPOPULATION
        factors += np.outer(np.where(moved, shift, -shift * share / (1 - share)), first)
    own = random.normal(size=(n, loadings.shape[1]))
    return np.sqrt(_SHARED) * (factors @ loadings) / widened + np.sqrt(1 - _SHARED) * own, objects


def _directions(
    parameters: PopulationParameters, treatment: tuple[str, str]
) -> tuple[FloatArray, FloatArray]:
    """Two orthonormal directions (K,) of a treatment: mostly its mechanism's, a little its compound's."""
    mechanism, compound = (
        np.random.default_rng([parameters.seed, 4, crc32(name.encode())]).normal(size=(2, parameters.factors))
        for name in treatment
    )
    share = parameters.compound_share
    mixed = np.sqrt(1 - share) * mechanism + np.sqrt(share) * compound
    first = mixed[0] / np.linalg.norm(mixed[0])
    second = mixed[1] - (mixed[1] @ first) * first
    return first, second / np.linalg.norm(second)


def _replace_by_debris(
    random: np.random.Generator,
    parameters: PopulationParameters,
    cells: FloatArray,
    objects: NDArray[np.int8],
    difference: Difference | None,
) -> None:
    """Turn some of the cells into debris, half of it bright and half of it faint, in place."""
    n, d = cells.shape
    most = parameters.most_debris if difference is Difference.DEBRIS else parameters.debris_share
    share = random.uniform(min(parameters.debris_share, most), most)
    chosen = np.flatnonzero(random.random(n) < share)
    bright = random.random(len(chosen)) < random.uniform(0.2, 0.8)
    looks = np.random.default_rng([parameters.seed, 5]).normal(size=d)
    lengths = parameters.bright_norm * random.lognormal(0, 0.3, (int(bright.sum()), 1))
    cells[chosen[bright]] = lengths * (0.7 * looks + 0.7 * random.normal(size=(len(lengths), d)))
    cells[chosen[~bright]] = 0.1 * random.normal(size=(int((~bright).sum()), d))
    objects[chosen] = np.where(bright, Object.BRIGHT_DEBRIS, Object.FAINT_DEBRIS)


def _seen_on(plate: str, cells: FloatArray, parameters: PopulationParameters) -> FloatArray:
    """As a plate's stain and optics show them."""
    random = np.random.default_rng([parameters.seed, 6, crc32(plate.encode())])
    d = cells.shape[1]
    offset = parameters.plate_offset * random.normal(size=d)
    into, out_of = random.normal(size=(2, d, _MIXED_DIRECTIONS)) / np.sqrt(d)
    return cells + parameters.plate_mixing * (cells @ out_of) @ into.T + offset


def table_of(screen: Screen, well: SimulatedWell) -> pd.DataFrame:
    """One row per object, with its well's metadata, its truth and its features, as a feature table has them."""
    n = len(well.objects)
    known = screen.wells.metadata.iloc[np.full(n, well.row)].reset_index(drop=True)
    known["Metadata_ObjectNumber"] = np.arange(1, n + 1)
    known["Metadata_TrueObject"] = well.objects
    features = pd.DataFrame(well.features, columns=list(screen.wells.names))
    return pd.concat([known, features], axis=1)
