"""Which rows a probe learns from and which it is scored on: the manifest's split, folds of lineages, half of the test.

Whatever the split, no cell stands on both sides.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cell_assets.evaluation.scores.scoring import coarse_units
from cell_assets.evaluation.scores.tasks import Labels
from cell_assets.evaluation.splits import SplitUnit
from cell_assets.evaluation.units import BoolArray, IntArray, SplitRows, StrArray, unit_ids


@dataclass(frozen=True)
class Part:
    """One probe: what it learns from and what it is scored on; both shape (N,)."""

    fit: BoolArray
    test: BoolArray


@dataclass(frozen=True)
class ProbeSplit:
    """One probe for each part; every row is scored by one of them at most."""

    name: str
    """As numbers carry it, for example `test tracks`."""
    parts: tuple[Part, ...]
    """None exactly when `why_none` says why."""
    unit: SplitUnit
    """What the folds by which a probe's strength is chosen keep whole."""
    resampled: tuple[SplitUnit, ...]
    """What intervals may be over, coarsest first; see `resampled_unit`."""
    n_rows: int
    note: str | None = None
    why_none: str | None = None

    @property
    def fit(self) -> BoolArray:
        """Rows that some probe learns from."""
        return self._any([part.fit for part in self.parts])

    @property
    def test(self) -> BoolArray:
        """Rows that some probe is scored on."""
        return self._any([part.test for part in self.parts])

    def _any(self, masks: list[BoolArray]) -> BoolArray:
        return np.any(masks, axis=0) if masks else np.zeros(self.n_rows, dtype=np.bool_)


def manifest_split(split: SplitRows) -> ProbeSplit:
    """The experiment's own split: one probe."""
    unit = split.statement.unit
    return ProbeSplit(
        split.statement.short, (Part(split.fit, split.test),), unit, coarse_units(unit), len(split.fit)
    )


def half_of_test_tracks(cells: pd.DataFrame, labels: Labels, test: BoolArray, seed: int) -> ProbeSplit:
    """Half of the test tracks that hold a label fit the probe, the other half score it (DynaCLR Table 1).

    Tracks that hold a positive row and those that hold none are halved apart; of an odd number the probe gets one
    more. The order of rows does not matter.
    """
    tracks = unit_ids(cells, SplitUnit.TRACK)
    scored = test & labels.known
    names = np.unique(tracks[scored])
    positive = np.isin(names, np.unique(tracks[scored & labels.label]))
    rng = np.random.default_rng(seed)
    fitted: list[str] = []
    for group in (names[positive], names[~positive]):
        fitted += list(rng.permutation(group)[: (len(group) + 1) // 2])
    inside = np.isin(tracks, np.array(fitted, dtype=np.str_))
    return ProbeSplit(
        "half of test tracks",
        (Part(scored & inside, scored & ~inside),),
        SplitUnit.TRACK,
        (SplitUnit.TRACK,),
        len(cells),
        f"{labels.name}, half of test tracks: as for DynaCLR's Table 1 the probe learns from half of the annotated "
        "test data and is scored on the other half, here by track. Dividing single cells, as the paper's code does, "
        "leaks: the same cell a frame later stands on the other side, and a probe recognises it. Halves share FOVs, "
        "and sisters may stand on different sides.",
    )


def lineage_folds(cells: pd.DataFrame, labels: Labels, used: BoolArray, n_folds: int) -> ProbeSplit:
    """Every row of `used` (N,) is scored by a probe that learned from no cell of its lineage.

    Lineages are dealt out from the one with the most positive rows down, each to the fold that has the smallest share
    of positive rows and of rows so far, so the order of rows does not matter and there is no chance in it.
    """
    name = f"{n_folds} folds by lineage"
    lineages = unit_ids(cells, SplitUnit.LINEAGE)
    resampled = (SplitUnit.LINEAGE, SplitUnit.TRACK)
    scored = used & labels.known
    n_lineages = len(np.unique(lineages[scored]))
    if n_lineages < n_folds:
        why = (
            f"the labelled cells descend from {n_lineages} founder(s), which {n_folds} folds cannot share out"
        )
        return ProbeSplit(name, (), SplitUnit.LINEAGE, resampled, len(cells), why_none=why)
    fold = _dealt(lineages, scored, labels.label, n_folds)
    parts = tuple(Part(scored & (fold != k), used & (fold == k)) for k in range(n_folds))
    unit = _inner_unit(lineages, labels.label, parts)
    return ProbeSplit(
        name,
        parts,
        unit,
        resampled,
        len(cells),
        f"{labels.name}, {name}: the cells of {n_lineages} founders are all scored, each by a probe that learned "
        "from no relative of it. The embedding itself may have been trained, without labels, on any of them, so "
        "this is no test of cells that it never saw.",
    )


def _dealt(lineages: StrArray, scored: BoolArray, label: BoolArray, n_folds: int) -> IntArray:
    """Fold of every row (N,); -1 for rows of lineages that hold no scored row."""
    names, code = np.unique(lineages[scored], return_inverse=True)
    sizes = np.bincount(code, minlength=len(names))
    positives = np.bincount(code[label[scored]], minlength=len(names))
    # Both shares as whole numbers over one denominator, so that a tie is one on every machine.
    load = positives * sizes.sum() + sizes * max(1, positives.sum())
    held = np.zeros(n_folds, dtype=np.int64)
    fold_of: dict[str, int] = {}
    for k in np.lexsort((names, -sizes, -positives)):
        fold = int(held.argmin())
        fold_of[str(names[k])] = fold
        held[fold] += load[k]
    return np.array([fold_of.get(str(name), -1) for name in lineages], dtype=np.int64)


def _inner_unit(lineages: StrArray, label: BoolArray, parts: tuple[Part, ...]) -> SplitUnit:
    """Lineages, where every probe learns from two that hold positives and two that hold negatives; else tracks."""

    def numbers() -> Iterator[int]:
        for part in parts:
            yield len(np.unique(lineages[part.fit & label]))
            yield len(np.unique(lineages[part.fit & ~label]))

    return SplitUnit.LINEAGE if min(numbers()) >= 2 else SplitUnit.TRACK
