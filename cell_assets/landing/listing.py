"""Arrivals as `cell-assets arrivals` shows them."""

from cell_assets.ledger.records import Arrival, JsonValue


def arrival_json(arrival: Arrival) -> dict[str, JsonValue]:
    """One folder as JSON values."""
    release = arrival.release
    return {
        "id": arrival.id,
        "folder": arrival.folder,
        "experiment": arrival.experiment,
        "plate": arrival.plate,
        "state": arrival.state.value,
        "reason": arrival.reason,
        "recorded": arrival.recorded.isoformat(),
        "digest": arrival.digest,
        "release": None
        if release is None
        else {
            "by": release.released_by,
            "why": release.why,
            "released": release.released.isoformat(),
            "waits_to_be_tried": arrival.is_released,
        },
    }


def arrival_text(arrival: Arrival) -> str:
    """One folder in a line or two."""
    what = "/".join(name for name in (arrival.experiment, arrival.plate) if name is not None) or "unnamed"
    said = f"{arrival.state.value:<12} {what}  {arrival.folder}  {arrival.recorded:%Y-%m-%d %H:%M}Z"
    if arrival.reason is not None:
        said += f"\n             {arrival.reason}"
    if arrival.release is not None:
        waits = ", to be tried again" if arrival.is_released else ""
        said += f"\n             released by {arrival.release.released_by}{waits}: {arrival.release.why}"
    return said
