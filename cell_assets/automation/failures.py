"""The one sentence by which a failed Dagster run tells a person why."""

from collections.abc import Iterable

import dagster as dg
from dagster._utils.error import SerializableErrorInfo

from cell_assets.errors import CellAssetsError

NO_STEP_FAILED = "the run failed before its first step; see it in the Dagster UI"


def failure_sentence(events: Iterable[dg.DagsterEvent]) -> str | None:
    """The sentence of the first failed step, the person's error and not Dagster's wrapping of it; None without one."""
    for event in events:
        if event.is_step_failure:
            failure = event.step_failure_data
            user_failure = failure.user_failure_data
            if user_failure is not None and user_failure.description:
                return user_failure.description
            if failure.error is not None:
                return _sentence(failure.error)
    return None


def _sentence(error: SerializableErrorInfo) -> str:
    """The person's error among an error and its causes, or else the first cause."""
    kinds: list[type[CellAssetsError]] = [CellAssetsError, *CellAssetsError.__subclasses__()]
    said = {kind.__name__ for kind in kinds}
    chosen = error
    while chosen.cls_name not in said and chosen.cause is not None:
        chosen = chosen.cause
    return chosen.message.strip().split(": ", 1)[-1]
