"""Captions of the figures of states over time: what is to be seen, in sentences with their numbers."""

from collections.abc import Sequence

from cell_assets.evaluation.state_calls import StateCalls
from cell_assets.evaluation.state_dynamics import StateDynamics
from cell_assets.evaluation.state_fraction import ConditionFraction
from cell_assets.reporting.dynamics_figures import fraction_figure
from cell_assets.reporting.html import ReportFigure
from cell_assets.reporting.wording import estimate_text, title_text, value_text


def dynamics_figures(dynamics: Sequence[StateDynamics]) -> tuple[ReportFigure, ...]:
    """A figure for every column of two states that a probe could be trained for."""
    return tuple(
        _fraction(one.calls, one.fractions) for one in dynamics if one.calls is not None and one.fractions
    )


def _fraction(calls: StateCalls, fractions: Sequence[ConditionFraction]) -> ReportFigure:
    state = calls.direction.state
    sentences = [
        f"At each time point, the fraction of test cells that a probe trained on annotated train tracks calls {state}.",
        *(sentence for one in fractions for sentence in _condition(calls, one)),
        "The plateau is reached when the fitted curve has made 95 % of its rise.",
    ]
    return ReportFigure(
        name=f"{calls.column}_over_time",
        title=f"Fraction {title_text(state)} over time ({title_text(calls.column)})",
        caption=" ".join(sentences),
        png=fraction_figure(calls, fractions),
    )


def _condition(calls: StateCalls, one: ConditionFraction) -> list[str]:
    growth = one.growth
    if growth.curve is None:
        said = f"{one.condition}: no logistic fit, because {growth.why_missing}."
    elif growth.plateau.value is None or growth.plateau_time.value is None:
        said = f"{one.condition}: no plateau, because {growth.plateau.why_missing}."
    else:
        said = (
            f"{one.condition}: plateaus at {estimate_text(growth.plateau)}, reached at "
            f"{estimate_text(growth.plateau_time)} {calls.time_title}."
        )
    sentences = [said, f"Intervals are over resampled {one.units_name}."]
    if one.covered.value is not None:
        sentences.append(
            f"They hold the annotated fraction at {value_text(one.covered.value)} of {one.n_compared} time points."
        )
    return sentences
