"""When a partition must be made, and why."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from cell_assets.ledger.currency import CurrencyState, Expectation, is_current
from cell_assets.ledger.records import (
    Artifact,
    ArtifactState,
    CodeIdentity,
    JsonValue,
    Provenance,
    Run,
    RunOutcome,
)

_THEN = datetime(2026, 3, 3, tzinfo=UTC)


def _artifact(artifact_id: int, asset: str, partition: str, digest: str) -> Artifact:
    return Artifact(
        artifact_id, asset, partition, digest, "t", None, 1, 1, "u", "f", "1", ArtifactState.PRESENT, _THEN
    )


_PARAMETERS: dict[str, JsonValue] = {"radius": 2.0, "names": ["a"]}
_CODE = CodeIdentity("code1", None, None, "env", "host")
_RUN = Run(7, "tracks", "P1", 3, None, _CODE, _PARAMETERS, _THEN, _THEN, RunOutcome.SUCCEEDED, None, None)
_INPUTS = (_artifact(1, "raw", "P1", "d1"), _artifact(2, "model", "E1", "d2"))
_MADE = Provenance(_artifact(3, "tracks", "P1", "d3"), _RUN, _INPUTS)
_EXPECTED = Expectation(
    "tracks", "P1", "code1", dict(_PARAMETERS), frozenset({("raw", "P1", "d1"), ("model", "E1", "d2")})
)


def test_the_same_code_parameters_and_inputs_are_current() -> None:
    verdict = is_current(_MADE, _EXPECTED)
    assert verdict.is_current
    assert verdict.state is CurrencyState.CURRENT


def test_what_was_never_made_is_missing() -> None:
    assert is_current(None, _EXPECTED).state is CurrencyState.MISSING


@pytest.mark.parametrize("state", [ArtifactState.EVICTED, ArtifactState.TOMBSTONED])
def test_what_cannot_be_used_is_missing(state: ArtifactState) -> None:
    verdict = is_current(replace(_MADE, artifact=replace(_MADE.artifact, state=state)), _EXPECTED)
    assert verdict.state is CurrencyState.MISSING
    assert state.value in verdict.why


@pytest.mark.parametrize(
    ("expected", "why"),
    [
        (replace(_EXPECTED, code_version="code2"), "code changed (code1 to code2)"),
        (
            replace(_EXPECTED, parameters={**_PARAMETERS, "radius": 3.0}),
            "parameter radius changed (2.0 to 3.0)",
        ),
        (
            replace(_EXPECTED, parameters={**_PARAMETERS, "seed": None}),
            "parameter seed changed (nothing to None)",
        ),
        (
            replace(_EXPECTED, input_digests=frozenset({("raw", "P1", "x"), ("model", "E1", "d2")})),
            "input raw P1 changed",
        ),
        (replace(_EXPECTED, input_digests=frozenset({("raw", "P1", "d1")})), "input model E1 is gone"),
        (
            replace(_EXPECTED, input_digests=_EXPECTED.input_digests | {("raw", "P2", "d9")}),
            "input raw P2 is new",
        ),
    ],
)
def test_any_change_is_stale_and_says_what_changed(expected: Expectation, why: str) -> None:
    verdict = is_current(_MADE, expected)
    assert verdict.state is CurrencyState.STALE
    assert verdict.why == why


def test_many_changed_inputs_are_counted() -> None:
    many = frozenset(("raw", f"P{index}", "d") for index in range(2, 12))
    why = is_current(_MADE, replace(_EXPECTED, input_digests=_EXPECTED.input_digests | many)).why
    assert why.endswith("and 7 more inputs")
