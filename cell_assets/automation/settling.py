"""What became of the runs of accepted arrivals."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import dagster as dg

from cell_assets.assets.recipes import AssetName
from cell_assets.automation.failures import failure_sentence
from cell_assets.ledger.ledger import Ledger
from cell_assets.ledger.records import Arrival, ArrivalDraft, ArrivalState

ARRIVAL_TAG = "cell_assets/arrival"
"""On a run: the id of the arrival that it brings in."""

_AT_ONCE = 200
_WILL_RETRY = "dagster/will_retry"


@dataclass(frozen=True)
class Settled:
    """How accepted arrivals stand."""

    drafts: tuple[ArrivalDraft, ...]
    """New words about those whose run failed or found a duplicate."""
    under_way: Mapping[str, Arrival]
    """By plate, those whose run has not ended or not begun."""
    without_run: tuple[Arrival, ...]
    """Those of them that no run was ever launched for."""
    through: int
    """Up to this id every arrival has its last word."""


def settle(
    instance: dg.DagsterInstance, ledger: Ledger, arrivals: Sequence[Arrival], settled_through: int
) -> Settled:
    """Look at the runs of the accepted arrivals that were not settled up to that id."""
    accepted = [
        one
        for one in arrivals
        if one.state is ArrivalState.ACCEPTED and one.plate is not None and one.id > settled_through
    ]
    runs = _newest_runs(instance, accepted)
    made = _made_since(ledger, [one for one in accepted if one.id not in runs])
    drafts: list[ArrivalDraft] = []
    under_way: dict[str, Arrival] = {}
    without_run: list[Arrival] = []
    for arrival in accepted:
        assert arrival.plate is not None
        run = runs.get(arrival.id)
        if run is None:
            if arrival.id not in made:
                without_run.append(arrival)
                under_way[arrival.plate] = arrival
        elif not run.is_finished or run.tags.get(_WILL_RETRY) == "true":
            under_way[arrival.plate] = arrival
        else:
            drafts += _last_word(instance, ledger, arrival, run)
    waiting = [one.id for one in under_way.values()]
    through = min(waiting) - 1 if waiting else max([settled_through, *(one.id for one in accepted)])
    return Settled(tuple(drafts), under_way, tuple(without_run), through)


def _newest_runs(instance: dg.DagsterInstance, arrivals: Sequence[Arrival]) -> dict[int, dg.DagsterRun]:
    """The newest run of each arrival; Dagster itself tries a run again whose process was lost."""
    newest: dict[int, dg.DagsterRun] = {}
    for first in range(0, len(arrivals), _AT_ONCE):
        ids = [str(one.id) for one in arrivals[first : first + _AT_ONCE]]
        # Newest first.
        for run in instance.get_runs(dg.RunsFilter(tags={ARRIVAL_TAG: ids})):
            newest.setdefault(int(run.tags[ARRIVAL_TAG]), run)
    return newest


def _made_since(ledger: Ledger, arrivals: Sequence[Arrival]) -> set[int]:
    """Those whose plate came in since; Dagster's runs may be deleted, the ledger's are not."""
    plates = sorted({one.plate for one in arrivals if one.plate is not None})
    latest = ledger.latest_many(AssetName.RAW_ACQUISITION, plates) if plates else {}
    return {one.id for one in arrivals if one.plate in latest and latest[one.plate].run.ended > one.recorded}


def _last_word(
    instance: dg.DagsterInstance, ledger: Ledger, arrival: Arrival, run: dg.DagsterRun
) -> Iterator[ArrivalDraft]:
    if run.status is not dg.DagsterRunStatus.SUCCESS:
        yield _draft(arrival, ArrivalState.QUARANTINED, _why_failed(instance, run))
        return
    plate = ledger.plate(arrival.plate or "")
    latest = ledger.latest(AssetName.RAW_ACQUISITION, arrival.plate or "")
    if plate is None or latest is None or _lies_in(plate.draft.source_uri, arrival.folder):
        return
    why = f"the same bytes came before from {plate.draft.source_uri} (artifact {latest.artifact.id})"
    yield _draft(arrival, ArrivalState.IGNORED, why)


def _lies_in(source: str, folder: str) -> bool:
    return source == folder or source.startswith(f"{folder}/")


def _why_failed(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    if run.status is dg.DagsterRunStatus.CANCELED:
        return f"its run {run.run_id} was cancelled"
    entries = instance.all_logs(
        run.run_id, of_type={dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE}
    )
    events = [entry.dagster_event for entry in entries if entry.dagster_event is not None]
    said = failure_sentence(events)
    if said is None:
        messages = [event.message for event in events if event.message]
        said = messages[-1] if messages else "it said nothing"
        return f"its run {run.run_id} ended without a word of its own: {' '.join(said.split())}"
    return " ".join(said.split())


def _draft(arrival: Arrival, state: ArrivalState, reason: str) -> ArrivalDraft:
    names = ArrivalDraft.__dataclass_fields__
    return ArrivalDraft(
        **{**{name: getattr(arrival, name) for name in names}, "state": state, "reason": reason}
    )
