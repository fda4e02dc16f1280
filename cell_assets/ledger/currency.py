"""Whether what the ledger holds is what the code, the parameters and the inputs of today would make."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from cell_assets.ledger.records import ArtifactState, JsonValue, Provenance


class CurrencyState(StrEnum):
    """What is to be done with an asset's partition: nothing, or make it."""

    CURRENT = "current"
    MISSING = "missing"
    STALE = "stale"


@dataclass(frozen=True)
class Expectation:
    """What making the partition now would use."""

    asset: str
    partition: str
    code_version: str
    parameters: Mapping[str, JsonValue]
    input_digests: frozenset[tuple[str, str, str]]
    """(asset, partition, digest) of every input."""


@dataclass(frozen=True)
class Currency:
    """The verdict and, for people, its reason in a few words."""

    state: CurrencyState
    why: str

    @property
    def is_current(self) -> bool:
        """Whether nothing needs to run."""
        return self.state is CurrencyState.CURRENT


def is_current(provenance: Provenance | None, expectation: Expectation) -> Currency:
    """Compare the latest successful run of a partition with what is expected of it now."""
    if provenance is None:
        return Currency(CurrencyState.MISSING, "never made")
    if provenance.artifact.state is not ArtifactState.PRESENT:
        return Currency(CurrencyState.MISSING, f"its bytes are {provenance.artifact.state.value}")
    changes = [
        *_code_change(provenance, expectation),
        *_parameter_changes(provenance.run.parameters, expectation.parameters),
        *_input_changes(provenance, expectation),
    ]
    if changes:
        return Currency(CurrencyState.STALE, "; ".join(changes))
    return Currency(CurrencyState.CURRENT, "same code, parameters and inputs")


def _code_change(provenance: Provenance, expectation: Expectation) -> list[str]:
    made_with = provenance.run.code.code_version
    if made_with == expectation.code_version:
        return []
    return [f"code changed ({made_with[:12]} to {expectation.code_version[:12]})"]


def _parameter_changes(then: Mapping[str, JsonValue], now: Mapping[str, JsonValue]) -> list[str]:
    absent = "nothing"
    return [
        f"parameter {name} changed ({then.get(name, absent)} to {now.get(name, absent)})"
        for name in sorted({*then, *now})
        if name not in then or name not in now or then[name] != now[name]
    ]


def _input_changes(provenance: Provenance, expectation: Expectation) -> list[str]:
    then = frozenset((one.asset, one.partition, one.digest) for one in provenance.inputs)
    now = expectation.input_digests
    places_then = {(asset, partition) for asset, partition, _ in then}
    places_now = {(asset, partition) for asset, partition, _ in now}
    changed = sorted({(asset, partition) for asset, partition, _ in then ^ now})
    words = []
    for asset, partition in changed[:_NAMED]:
        if (asset, partition) not in places_now:
            words.append(f"input {asset} {partition} is gone")
        elif (asset, partition) not in places_then:
            words.append(f"input {asset} {partition} is new")
        else:
            words.append(f"input {asset} {partition} changed")
    if len(changed) > _NAMED:
        words.append(f"and {len(changed) - _NAMED} more inputs")
    return words


_NAMED = 3
"""How many changed inputs a reason names before it only counts."""
