"""What a network finds least relevant, as a rule that people can read and any program can apply.

A shallow decision tree foretells the least relevant cells from their features; the leaves in which these prevail are
the rule. It needs no network, so that mean profiling can use it on plates of its own.
"""

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from sklearn.tree import DecisionTreeClassifier

from cell_assets.errors import BadInputError
from cell_assets.evaluation.profiling.profile_parameters import RuleParameters
from cell_assets.evaluation.profiling.relevance_study import kept_cells
from cell_assets.evaluation.units import BoolArray, FloatArray, IntArray
from cell_assets.imaging.record_files import read_record


class Condition(BaseModel):
    """A bound on one feature."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    feature: str
    side: Literal["<=", ">"]
    threshold: float

    def __str__(self) -> str:
        return f"{self.feature} {self.side} {self.threshold:.3g}"

    def holds(self, values: NDArray[np.floating]) -> BoolArray:
        """For which values (N,); for none that is missing."""
        bound = np.float64(self.threshold)
        return np.asarray(values <= bound if self.side == "<=" else values > bound)


class QualityRule(BaseModel):
    """Which cells to leave out of a well's profile."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    format: Literal["cell_assets.quality_rule"] = "cell_assets.quality_rule"
    version: Literal[1] = 1
    scale: Literal["standard deviations from the mean of all cells of the plate"] = (
        "standard deviations from the mean of all cells of the plate"
    )
    """Of thresholds, and of the features that the rule is applied to."""
    clauses: tuple[tuple[Condition, ...], ...]
    """A cell is left out when all conditions of one clause hold; without a clause all cells stay."""

    @property
    def sentence(self) -> str:
        """The rule for a report."""
        if not self.clauses:
            return "Every cell stays: no plain rule foretells the least relevant ones."
        said = ", and cells with ".join(" and ".join(map(str, clause)) for clause in self.clauses)
        return f"Leave out cells with {said} ({self.scale})."

    @property
    def features(self) -> tuple[str, ...]:
        """Those that it looks at."""
        return tuple(dict.fromkeys(one.feature for clause in self.clauses for one in clause))

    def leaves_out(self, features: NDArray[np.floating], names: tuple[str, ...]) -> BoolArray:
        """Which cells (N,) it leaves out; a value that is missing fulfils no condition.

        Args:
            features: (N, D), of zero mean and unit variance over all cells of each plate; may be a memory map.
            names: D names.

        Raises:
            BadInputError: the rule looks at a feature that is none of these.
        """
        missing = [name for name in self.features if name not in names]
        if missing:
            raise BadInputError(
                f"the rule looks at {missing[0]}, which these cells do not have; measure it, or distil a rule from "
                "features that they have"
            )
        values = {name: np.asarray(features[:, names.index(name)]) for name in self.features}
        found = np.zeros(len(features), bool)
        for clause in self.clauses:
            found |= np.logical_and.reduce([one.holds(values[one.feature]) for one in clause])
        return found


def distil_rule(
    relevance: FloatArray,
    features: NDArray[np.float32],
    names: tuple[str, ...],
    starts: IntArray,
    parameters: RuleParameters,
) -> QualityRule:
    """The rule that foretells the least relevant cells of every well.

    Args:
        relevance: (N,).
        features: (N, D), of zero mean and unit variance over all cells of each plate; may be a memory map.
        names: D names.
        starts: (W + 1,) where the cells of each well begin, and N.

    Raises:
        BadInputError: wells are so small that none of their cells is among the least relevant, or relevance is not of
            as many cells.
    """
    least = ~kept_cells(relevance, starts, parameters.least_relevant)
    rows = drawn_cells(len(least), parameters.max_cells, parameters.seed)
    return rule_of_examples(features[rows], least[rows], names, parameters)


def drawn_cells(n: int, most: int, seed: int) -> IntArray:
    """Rows of at most `most` of n cells, drawn evenly, in their order."""
    return np.sort(np.random.default_rng(seed).permutation(n)[:most])


def rule_of_examples(
    features: NDArray[np.float32], least: BoolArray, names: tuple[str, ...], parameters: RuleParameters
) -> QualityRule:
    """The rule that foretells which of these cells are among the least relevant; cells of several plates may be mixed.

    Args:
        features: (n, D), of zero mean and unit variance over all cells of each plate.
        least: (n,) which cells are to be foretold.
        names: D names.

    Raises:
        BadInputError: none is.
    """
    if not least.any():
        raise BadInputError(
            f"of {len(least)} cells none is among the least relevant {parameters.least_relevant:.0%} of its well; give "
            "wells with more cells"
        )
    tree = DecisionTreeClassifier(
        max_depth=parameters.max_depth, min_samples_leaf=parameters.min_leaf, random_state=parameters.seed
    ).fit(features, least)
    return QualityRule(clauses=_clauses(tree, names, parameters.min_precision, 0, ()))


def write_quality_rule(rule: QualityRule, file: Path) -> None:
    """As JSON."""
    file.write_text(rule.model_dump_json(indent=1) + "\n", encoding="utf-8")


def read_quality_rule(file: Path) -> QualityRule:
    """From JSON.

    Raises:
        BadInputError: it is not there, or no rule.
    """
    return read_record(file, QualityRule, "a report on profiles", "a rule")


def _clauses(
    tree: DecisionTreeClassifier,
    names: tuple[str, ...],
    min_precision: float,
    node: int,
    path: tuple[Condition, ...],
) -> tuple[tuple[Condition, ...], ...]:
    """Paths from a node to the leaves in which the least relevant cells prevail."""
    nodes = tree.tree_
    if nodes.children_left[node] == nodes.children_right[node]:
        shares = nodes.value[node, 0] / nodes.value[node, 0].sum()
        return (path,) if shares[-1] > min_precision else ()
    feature, threshold = names[nodes.feature[node]], float(nodes.threshold[node])
    low = _narrowed(path, Condition(feature=feature, side="<=", threshold=threshold))
    high = _narrowed(path, Condition(feature=feature, side=">", threshold=threshold))
    found = (
        *_clauses(tree, names, min_precision, nodes.children_left[node], low),
        *_clauses(tree, names, min_precision, nodes.children_right[node], high),
    )
    # Where both sides are left out, this condition decides nothing.
    return (path,) if found == (low, high) else found


def _narrowed(path: tuple[Condition, ...], condition: Condition) -> tuple[Condition, ...]:
    """A path with one more condition, in place of a wider bound on the same side of the same feature."""
    others = (one for one in path if (one.feature, one.side) != (condition.feature, condition.side))
    return (*others, condition)
