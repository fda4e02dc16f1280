"""What is in quarantine, and which of it a person means."""

import os
import pwd
from collections.abc import Sequence

from cell_assets.errors import BadInputError, NotFoundError
from cell_assets.landing.places import named_folder
from cell_assets.ledger.records import Arrival, ArrivalState


def quarantined(arrivals: Sequence[Arrival]) -> dict[str, str]:
    """Reason by folder."""
    return {one.folder: one.reason or "" for one in arrivals if one.state is ArrivalState.QUARANTINED}


def find_quarantined(arrivals: Sequence[Arrival], named: str) -> Arrival:
    """The quarantined arrival that a person names by its folder or by its plate.

    Raises:
        NotFoundError: nothing of that name has arrived.
        BadInputError: it is not in quarantine, or the plate is so in several folders, or no user has that home.
    """
    folder = named_folder(named).rstrip("/")
    found = [one for one in arrivals if one.folder == folder] or [
        one for one in arrivals if one.plate == named
    ]
    if not found:
        raise NotFoundError(
            f"no folder {folder} and no plate {named!r} has arrived: `cell-assets arrivals` lists what has"
        )
    held = [one for one in found if one.state is ArrivalState.QUARANTINED]
    if not held:
        raise BadInputError(f"{found[0].folder} is {found[0].state}, not in quarantine: nothing to try again")
    if len(held) > 1:
        folders = ", ".join(one.folder for one in held)
        raise BadInputError(f"plate {named} is in quarantine in {folders}: name one of these folders")
    return held[0]


def login_name() -> str:
    """The user of this process, as the system names them."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"user {os.getuid()}"
