"""What a study of profiles states as numbers of the ledger."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from cell_assets.evaluation.profiling.profile_scores import ALL_COMPOUNDS, Gain
from cell_assets.evaluation.profiling.profile_study import ProfileStudy
from cell_assets.evaluation.profiling.significance import Significance
from cell_assets.evaluation.resampling import Estimate, stated_split
from cell_assets.ledger.records import NumberDraft

CHANCE_REPORT = "chance"
"""In place of a representation, of what a random order gives."""


def profile_numbers(study: ProfileStudy, method: str) -> tuple[NumberDraft, ...]:
    """Every number, in the order of the study; what could not be computed says why. Of a part of the compounds, mean
    average precision and what it gains; the study holds the rest. Of plates, batches and what plates are for, all that
    Table 1 of CytoSummaryNet states, with Welch's tests and the share that is found beyond luck.

    Args:
        method: that the report is about, for example `cytosummary`; begins the name of every number's report.
    """
    return tuple(replace(number, report=f"{method}/{number.report}") for number in _numbers(study))


def _numbers(study: ProfileStudy) -> Iterator[NumberDraft]:
    reference, simulated = study.parameters.reference, study.parameters.simulated
    for score in study.scores:
        split, is_whole = stated_split(score.stratum.name, simulated), score.is_whole
        about = f"{score.representation}/{score.task.value}"
        if score.representation == reference:
            chance = f"{CHANCE_REPORT}/{score.task.value}"
            yield _of(score.chance, chance, "mean_average_precision", split)
            if is_whole:
                yield _of(score.prevalence, chance, "nearest_is_right", split)
        yield _of(score.mean_average_precision, about, "mean_average_precision", split)
        if is_whole:
            yield _of(score.nearest, about, "nearest_is_right", split)
        if score.gain is not None:
            yield _of(score.gain.absolute, about, f"gain_over_{reference}", split)
            if is_whole or score.stratum.is_of_plates:
                yield from _tests(score.gain, about, reference, split)
        if score.significance is not None:
            yield _significant(score.significance, about, split)
    yield from _by_plate(study)
    yield from _over_plates(study)
    for one in study.found:
        split = stated_split(ALL_COMPOUNDS, simulated)
        yield _of(one.share, f"{one.representation}/mechanism", "share_of_compounds_found", split)
    for batch in study.batch:
        about = f"{batch.representation}/batch_effect"
        split, unit = stated_split(batch.among.value, simulated), "batches"
        if batch.of_what == "plate":
            unit = "plates"
        name = f"nearest_of_same_{batch.of_what}"
        yield batch.same.as_number(report=about, name=name, split=split, unit=unit)
        yield batch.expected.as_number(report=about, name=f"{name}_expected", split=split, unit=unit)


def _of(estimate: Estimate, report: str, name: str, split: str) -> NumberDraft:
    return estimate.as_number(report=report, name=name, split=split, unit="compounds")


def _significant(found: Significance, about: str, split: str) -> NumberDraft:
    name = f"share_of_{found.of_what}_significant"
    return found.share.as_number(report=about, name=name, split=split, unit=found.of_what)


def _by_plate(study: ProfileStudy) -> Iterator[NumberDraft]:
    """Plate after plate within each report, so that pages head each report once."""
    reference, simulated = study.parameters.reference, study.parameters.simulated
    reports = dict.fromkeys((one.task, one.representation) for one in study.plates)
    place = {report: n for n, report in enumerate(reports)}
    for one in sorted(study.plates, key=lambda one: place[one.task, one.representation]):
        split = stated_split(f"plate {one.plate}", simulated)
        about = f"{one.representation}/{one.task.value}"
        yield _of(one.mean_average_precision, about, "mean_average_precision", split)
        yield _significant(one.significance, about, split)
        if one.gain is not None:
            yield _of(one.gain.absolute, about, f"gain_over_{reference}", split)
            yield from _tests(one.gain, about, reference, split, over="compounds")


def _tests(
    gain: Gain, about: str, reference: str, split: str, over: str | None = None
) -> Iterator[NumberDraft]:
    """Relative gain and Welch's tests; `over` leaves out those over something else."""
    yield _of(gain.relative, about, f"relative_gain_over_{reference}", split)
    for test in (one for one in gain.welch if over in (None, one.over)):
        yield NumberDraft(
            about,
            f"welch_p_over_{reference}_by_{test.over}",
            split,
            test.p_value,
            test.n,
            test.over,
            why_missing=test.why_missing,
        )


def _over_plates(study: ProfileStudy) -> Iterator[NumberDraft]:
    """Mean of the plates' mean average precisions, as the figures of CytoSummaryNet average them."""
    split = stated_split("all plates", study.parameters.simulated)
    for task in dict.fromkeys(one.task for one in study.plates):
        for representation in study.representations:
            own = [one for one in study.plates if (one.task, one.representation) == (task, representation)]
            values = [
                one.mean_average_precision.value
                for one in own
                if one.mean_average_precision.value is not None
            ]
            why = None if values or not own else own[0].mean_average_precision.why_missing
            yield NumberDraft(
                f"{representation}/{task.value}",
                "mean_over_plates",
                split,
                float(np.mean(values)) if values else None,
                len(values),
                "plates",
                why_missing=None if values else why or "there is no plate",
            )
