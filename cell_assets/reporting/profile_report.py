"""The report of an experiment's profiles: page, figures, numbers and tables, byte for byte the same again."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path

import pandas as pd

from cell_assets.evaluation.profiling.mean_profiles import PlateProfilesRecord
from cell_assets.evaluation.profiling.profile_numbers import CHANCE_REPORT, profile_numbers
from cell_assets.evaluation.profiling.profile_scores import Gain, Score
from cell_assets.evaluation.profiling.profile_selection import SelectedProfiles
from cell_assets.evaluation.profiling.profile_study import ProfileStudy
from cell_assets.evaluation.profiling.profile_tasks import Task
from cell_assets.evaluation.profiling.published_profiles import SIMILARITY_FUSION
from cell_assets.evaluation.profiling.relevance_numbers import relevance_numbers
from cell_assets.evaluation.profiling.significance import SIGNIFICANT
from cell_assets.evaluation.profiling.well_manifest import BATCH, COMPOUND, IS_CONTROL, MOA
from cell_assets.evaluation.studies.published_report import NUMBERS_FILE
from cell_assets.imaging.feature_tables.columns import PLATE, WELL
from cell_assets.imaging.parquet_tables import write_parquet
from cell_assets.ledger.records import JsonValue, NumberDraft, ReadReceipt
from cell_assets.reporting.dose_table import dose_groups
from cell_assets.reporting.html import Card, ReportFigure, card, render_page
from cell_assets.reporting.plate_table import plate_groups
from cell_assets.reporting.profile_figures import TASK_TITLES, profile_figures
from cell_assets.reporting.relevance_page import RelevancePage, relevance_words
from cell_assets.reporting.wording import interval_text, seconds_text, title_text, value_text
from cell_assets.store.room import said_bytes

FORMAT_NAME, FORMAT_VERSION = "cell_assets.profile_report", "1"
COMPOUNDS_FILE, PLATES_FILE, UMAP_FILE = "compounds.parquet", "plates.parquet", "umap.parquet"
_MOST_FEATURES_NAMED = 5


@dataclass(frozen=True)
class ProfileSources:
    """Where the profiles come from, and what was lost before they were studied."""

    inputs: tuple[ReadReceipt, ...]
    parameters: Mapping[str, JsonValue]
    plates: tuple[PlateProfilesRecord, ...] = ()
    """What making each plate's profiles left out."""
    selections: Mapping[str, SelectedProfiles] | None = None
    """By representation, what choosing common features left out."""
    costs: tuple["OutputCost", ...] = ()
    """Time and size of what was made on the way to these profiles, in that order."""


@dataclass(frozen=True)
class OutputCost:
    """What the outputs of one kind cost that the report rests on (Table 3 of CytoSummaryNet)."""

    what: str
    """For example `profiles by cytosummary`."""
    n_outputs: int
    """One of each plate, or of the experiment."""
    seconds: float
    """Of all, from reading to publishing."""
    n_bytes: int
    """Of all, as they are published."""


@dataclass(frozen=True)
class _Cost:
    """One row of the table of costs."""

    what: str
    n: int
    seconds_each: str
    seconds: str
    size_each: str
    size: str


@dataclass(frozen=True)
class _Gain:
    """One representation's row in the table of improvements."""

    representation: str
    own: str
    absolute: str
    interval: str
    relative: str
    p_compounds: str
    p_plates: str


@dataclass(frozen=True)
class _GainGroup:
    """One task and stratum of the table of improvements (Table 1 of CytoSummaryNet)."""

    title: str
    reference: str
    n: int
    """Profiles that ask."""
    rows: tuple[_Gain, ...]


@dataclass(frozen=True)
class _PlateLoss:
    plate: str
    wells: int
    without_profile: str
    of_one_cell: str
    cells: str
    lost: str
    constant: str


@dataclass(frozen=True)
class _SelectionLoss:
    representation: str
    features: int
    reasons: tuple[tuple[str, int, str], ...]
    """Why, how many, and the first of them."""
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _ProfileContent:
    title: str
    subtitle: str
    figures: tuple[ReportFigure, ...]
    inputs: tuple[ReadReceipt, ...]
    parameters: Mapping[str, JsonValue]


def write_profile_report(
    out: Path,
    title: str,
    method: str,
    study: ProfileStudy,
    notes: Sequence[str],
    sources: ProfileSources,
    headline: str | None = None,
    relevance: RelevancePage | None = None,
) -> tuple[NumberDraft, ...]:
    """Write `report.html`, `figures/*.png`, `numbers.json`, `compounds.parquet`, `plates.parquet` and `umap.parquet`
    into the folder `out`, and of relevance what `RelevancePage.write` does; returns the numbers that the page states.

    Args:
        method: that the report is about; begins the name of every number's report.
        headline: the representation that the cards are about; default is the study's reference.
        relevance: what the cells have to say, by that method.
    """
    numbers, figures = profile_numbers(study, method), profile_figures(study)
    if relevance is not None:
        numbers = (*numbers, *relevance_numbers(relevance.study, method))
        figures = (*figures, *relevance.figures())
    content = _ProfileContent(title, _subtitle(study), figures, sources.inputs, sources.parameters)
    page = render_page(
        "profile.html",
        content,
        numbers,
        list(_cards(study, numbers, headline or study.parameters.reference)),
        simulated=study.parameters.simulated,
        notes=list(notes),
        study=study,
        significant=SIGNIFICANT,
        reference=title_text(study.parameters.reference),
        features=[(title_text(name), n, study.left_out[name]) for name, n in study.n_features.items()],
        fuses=SIMILARITY_FUSION in study.representations,
        has_batch=BATCH in study.wells.columns,
        gains=list(_gains(study)),
        relevance=None if relevance is None else relevance_words(relevance),
        doses=dose_groups(study),
        by_plate=plate_groups(study, headline or study.parameters.reference),
        headline=title_text(headline or study.parameters.reference),
        alone=[(str(row[COMPOUND]), str(row[MOA])) for _, row in study.without_sister.iterrows()],
        plates=[_plate_loss(one) for one in sources.plates],
        costs=[_cost(one) for one in sources.costs],
        selections=[_selection_loss(name, one) for name, one in (sources.selections or {}).items()],
    )
    (out / "figures").mkdir(parents=True, exist_ok=True)
    for figure in figures:
        (out / "figures" / f"{figure.name}.png").write_bytes(figure.png)
    (out / "report.html").write_text(page, encoding="utf-8")
    document = {
        "format": FORMAT_NAME,
        "format_version": FORMAT_VERSION,
        "simulated": study.parameters.simulated,
        "numbers": [asdict(number) for number in numbers],
        "notes": list(notes),
    }
    text = json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    (out / NUMBERS_FILE).write_text(text + "\n", encoding="utf-8")
    write_parquet(_compounds_table(study), out / COMPOUNDS_FILE)
    write_parquet(_plates_table(study), out / PLATES_FILE)
    write_parquet(_umap_table(study), out / UMAP_FILE)
    if relevance is not None:
        relevance.write(out)
    return numbers


def _subtitle(study: ProfileStudy) -> str:
    wells = study.wells
    treated = wells[~wells[IS_CONTROL].astype(bool)]
    names = ", ".join(title_text(name) for name in study.representations)
    return (
        f"{len(wells)} wells of {wells[PLATE].nunique()} plates, {len(wells) - len(treated)} of them controls; "
        f"{treated[COMPOUND].nunique()} compounds of {treated[MOA].nunique()} mechanisms. Profiles: {names}."
    )


def _cards(study: ProfileStudy, stated: Sequence[NumberDraft], headline: str) -> Iterator[Card]:
    numbers = {(one.report.partition("/")[2], one.name, one.split): one for one in stated}
    split = next(split for report, _, split in numbers if report == f"{headline}/{Task.MECHANISM.value}")
    strict = Task.MECHANISM_OTHER_BATCH if BATCH in study.wells.columns else Task.MECHANISM_OTHER_PLATE
    others = [name for name in study.representations if name != headline]
    metric = "mean_average_precision"
    for task in (Task.MECHANISM, strict, _replicate_task(study, headline)):
        beside = [
            (title_text(name), value_text(numbers[f"{name}/{task.value}", metric, split].value))
            for name in (*others, CHANCE_REPORT)
        ]
        nearest = numbers[f"{headline}/{task.value}", "nearest_is_right", split].value
        yield card(
            f"{TASK_TITLES[task]}: {title_text(metric)} of {title_text(headline)}",
            numbers[f"{headline}/{task.value}", metric, split],
            [*beside, ("nearest is right", value_text(nearest))],
        )


def _replicate_task(study: ProfileStudy, headline: str) -> Task:
    """Within plates, where replicates share one."""
    on_plate = study.score(Task.REPLICATE_ON_PLATE, headline).mean_average_precision
    return Task.REPLICATE_OTHER_PLATE if on_plate.value is None else Task.REPLICATE_ON_PLATE


def _gains(study: ProfileStudy) -> Iterator[_GainGroup]:
    """Of tasks that could be asked; the others stand among the numbers, with their reasons. Batches have a table of
    their own, see `plate_groups`."""
    for (task, stratum), group in groupby(study.scores, key=lambda one: (one.task, one.stratum)):
        own = list(group)
        if stratum.batch is not None:
            continue
        reference = next(one for one in own if one.gain is None)
        rows = tuple(_gain(one, one.gain) for one in own if one.gain is not None)
        if rows and reference.mean_average_precision.value is not None:
            yield _GainGroup(
                f"{TASK_TITLES[task]}: {stratum.name}",
                value_text(reference.mean_average_precision.value),
                reference.n_queries,
                rows,
            )


def _gain(score: Score, gain: Gain) -> _Gain:
    p_values = {test.over: value_text(test.p_value) for test in gain.welch}
    absolute, relative = gain.absolute.value, gain.relative.value
    return _Gain(
        title_text(score.representation),
        value_text(score.mean_average_precision.value),
        "–" if absolute is None else f"{absolute:+.3f}",
        interval_text(gain.absolute.low, gain.absolute.high),
        "–" if relative is None else f"{100 * relative:+.0f} %",
        p_values.get("compounds", "–"),
        p_values.get("plates", "–"),
    )


def _cost(cost: OutputCost) -> _Cost:
    return _Cost(
        cost.what,
        cost.n_outputs,
        seconds_text(cost.seconds / cost.n_outputs),
        seconds_text(cost.seconds),
        said_bytes(round(cost.n_bytes / cost.n_outputs)),
        said_bytes(cost.n_bytes),
    )


def _plate_loss(record: PlateProfilesRecord) -> _PlateLoss:
    constant = max((len(names) for names in record.constant.values()), default=0)
    used = f"{record.used_cells} of {record.cells}" if record.cells is not None else "came as profiles"
    return _PlateLoss(
        record.plate,
        record.wells,
        _counted(record.without_profile),
        _counted(record.of_one_cell),
        used,
        str(len(record.lost)),
        str(constant),
    )


def _counted(wells: Sequence[str]) -> str:
    n = len(wells)
    return f"{n} ({', '.join(wells[:3])}{', …' if n > 3 else ''})" if n else "0"


def _selection_loss(name: str, selection: SelectedProfiles) -> _SelectionLoss:
    # Plates are told apart in the reason, and of many plates each would be a row.
    short = {feature: why.partition(" has no such feature")[0] for feature, why in selection.lost.items()}
    reason = {
        feature: "a plate lacks it" if why != selection.lost[feature] else why
        for feature, why in short.items()
    }
    counts = Counter(reason.values())
    rows = []
    for why, n in counts.most_common():
        of_it = [feature for feature, one in reason.items() if one == why]
        more = f" and {n - _MOST_FEATURES_NAMED} more" if n > _MOST_FEATURES_NAMED else ""
        rows.append((why, n, ", ".join(of_it[:_MOST_FEATURES_NAMED]) + more))
    return _SelectionLoss(title_text(name), len(selection.profiles.names), tuple(rows), selection.notes)


def _compounds_table(study: ProfileStudy) -> pd.DataFrame:
    return pd.concat(
        [one.table.assign(representation=one.representation) for one in study.found], ignore_index=True
    )


def _plates_table(study: ProfileStudy) -> pd.DataFrame:
    rows = [
        {
            PLATE: one.plate,
            "task": one.task.value,
            "representation": one.representation,
            "mean_average_precision": one.mean_average_precision.value,
            "low": one.mean_average_precision.low,
            "high": one.mean_average_precision.high,
            "compounds": one.mean_average_precision.n_units,
            "tested": one.significance.of_what,
            "share_significant": one.significance.share.value,
            "gain": None if one.gain is None else one.gain.absolute.value,
            "relative_gain": None if one.gain is None else one.gain.relative.value,
            "why_missing": one.mean_average_precision.why_missing,
        }
        for one in study.plates
    ]
    table = pd.DataFrame(rows)
    numeric = ["mean_average_precision", "low", "high", "share_significant", "gain", "relative_gain"]
    return table.astype(dict.fromkeys(numeric, "float64")) if len(table) else table


def _umap_table(study: ProfileStudy) -> pd.DataFrame:
    placed = [
        study.wells[[PLATE, WELL]].assign(representation=one.representation, x=one.xy[:, 0], y=one.xy[:, 1])
        for one in study.umaps
        if one.xy is not None
    ]
    columns = [PLATE, WELL, "representation", "x", "y"]
    return pd.concat(placed, ignore_index=True) if placed else pd.DataFrame(columns=columns)
