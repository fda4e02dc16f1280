"""From what a network finds least relevant to a rule: a shallow tree foretells it, and its leaves are the rule."""

import numpy as np
from numpy.typing import NDArray
from sklearn.tree import DecisionTreeClassifier

from cell_assets.errors import BadInputError
from cell_assets.evaluation.profiling.profile_parameters import RuleParameters
from cell_assets.evaluation.profiling.quality_rule import Condition, QualityRule
from cell_assets.evaluation.profiling.relevance_study import kept_cells
from cell_assets.evaluation.units import BoolArray, FloatArray, IntArray


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
