"""The auditor's webserver, over HTTP: each mutation that Dagster's schema has is refused, and no row changes."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import psycopg2
import pytest
from psycopg2 import sql

from cell_assets_tests.security.conftest import GuardedLab

_TYPE = "{ kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name } } } } }"
_SCHEMA = f"""
{{ __schema {{
  mutationType {{ fields {{ name args {{ name defaultValue type {_TYPE} }} type {_TYPE} }} }}
  types {{ kind name inputFields {{ name defaultValue type {_TYPE} }} enumValues {{ name }} }}
}} }}
"""
_SELECTOR = 'repositoryLocationName: "cell_assets", repositoryName: "__repository__"'
_LAUNCH = f"""
mutation {{ launchRun(executionParams: {{
  selector: {{ {_SELECTOR}, jobName: "compare_displays" }}, runConfigData: {{}}
}}) {{ __typename ... on LaunchRunSuccess {{ run {{ runId }} }} ... on PythonError {{ message }} }} }}
"""
_ADD = f"""
mutation {{ addDynamicPartition(
  repositorySelector: {{ {_SELECTOR} }}, partitionsDefName: "plate", partitionKey: "P8"
) {{ __typename }} }}
"""
_BACKFILL = """
mutation { launchPartitionBackfill(backfillParams: {
  assetSelection: [{ path: ["raw_acquisition"] }], partitionNames: ["P8"]
}) { __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }
"""
_INSTIGATORS = f"""
{{ sensorsOrError(repositorySelector: {{ {_SELECTOR} }}) {{
    ... on Sensors {{ results {{ name sensorState {{ id selectorId }} }} }} }}
  schedulesOrError(repositorySelector: {{ {_SELECTOR} }}) {{
    ... on Schedules {{ results {{ name scheduleState {{ id selectorId }} }} }} }} }}
"""
_KNOWN: dict[str, object] = {
    "jobName": "compare_displays",
    "pipelineName": "compare_displays",
    "repositoryName": "__repository__",
    "repositoryLocationName": "cell_assets",
    "locationName": "cell_assets",
    "sensorName": "arrivals",
    "path": ["raw_acquisition"],
    "partitionsDefName": "plate",
    "partitionKey": "P9",
    "partitionKeys": ["P9"],
    "limit": 7,
    "cursor": "0",
    "timestamp": 0.0,
    "metadata": "{}",
}
"""Values with which a mutation would do something here."""
_WHY = "... on Error { message }"
_NESTED = {
    **dict.fromkeys(
        ("terminateRun", "terminatePipelineExecution"), "... on TerminateRunFailure { why: message }"
    ),
    "launchMultipleRuns": "... on LaunchMultipleRunsResult { launchMultipleRunsResult { __typename } }",
    "terminateRuns": "... on TerminateRunsResult { terminateRunResults { __typename "
    "... on TerminateRunFailure { why: message } } }",
}
"""Of answers that hold one for each run."""
_HARMLESS = {"logTelemetry", "setNuxSeen"}
"""Dagster asks nobody's leave for these two: what pages were looked at, which is switched off here, and that its first
dialogue was seen. Neither touches a database."""
_ASKED_LATER = {"reexecutePartitionBackfill"}
"""Of a backfill that has not ended, Dagster says so before it looks who asks."""
_NOWHERE = {"setAppManagedComponent", "deleteAppManagedComponent"}
"""Refused by every webserver of one's own, as they are of Dagster's hosted service."""


class Schema:
    """What a webserver says can be asked of it."""

    def __init__(self, found: Mapping[str, Any]) -> None:
        self.mutations: list[Mapping[str, Any]] = found["mutationType"]["fields"]
        self._types = {one["name"]: one for one in found["types"]}
        self._known: dict[str, object] = {}

    def call(
        self,
        mutation: Mapping[str, Any],
        known: Mapping[str, object],
        own: Mapping[str, Mapping[str, object]],
    ) -> tuple[str, dict[str, object]]:
        """A whole question, with a value for every argument that must have one or is known, `own` to one mutation."""
        self._known = {**known, **own.get(mutation["name"], {})}
        given = {one["name"]: one for one in mutation["args"] if self._is_given(one)}
        variables = {name: self._value(one["type"], name) for name, one in given.items()}
        declared = ", ".join(f"${name}: {_written(one['type'])}" for name, one in given.items())
        passed = ", ".join(f"{name}: ${name}" for name in given)
        within = _NESTED.get(mutation["name"], "")
        is_object = _innermost(mutation["type"])["kind"] in ("OBJECT", "UNION", "INTERFACE")
        selected = f" {{ __typename {_WHY} {within} }}" if is_object else ""
        arguments = (f"({declared})", f"({passed})") if given else ("", "")
        return f"mutation{arguments[0]} {{ {mutation['name']}{arguments[1]}{selected} }}", variables

    def _is_given(self, one: Mapping[str, Any]) -> bool:
        must = one["type"]["kind"] == "NON_NULL" and one["defaultValue"] is None
        return must or one["name"] in self._known

    def _value(self, of: Mapping[str, Any], name: str) -> object:
        if of["kind"] == "NON_NULL":
            return self._value(of["ofType"], name)
        if name in self._known:
            return self._known[name]
        if of["kind"] == "LIST":
            return [self._value(of["ofType"], name)]
        if of["kind"] == "ENUM":
            return self._types[of["name"]]["enumValues"][0]["name"]
        if of["kind"] == "INPUT_OBJECT":
            fields = self._types[of["name"]]["inputFields"]
            return {
                one["name"]: self._value(one["type"], one["name"]) for one in fields if self._is_given(one)
            }
        return {"Int": 1, "Float": 1.0, "Boolean": True, "RunConfigData": {}}.get(of["name"], "x")


def _innermost(of: Mapping[str, Any]) -> Mapping[str, Any]:
    while of["ofType"] is not None:
        of = of["ofType"]
    return of


def _written(of: Mapping[str, Any]) -> str:
    if of["kind"] == "NON_NULL":
        return f"{_written(of['ofType'])}!"
    return f"[{_written(of['ofType'])}]" if of["kind"] == "LIST" else str(of["name"])


@pytest.fixture(scope="module")
def lab(guarded_lab: GuardedLab) -> Iterator[GuardedLab]:
    """The lab's webserver and the auditor's over one code location, without a daemon, which would write by itself."""
    running = guarded_lab.services
    assert running.run("prepare").returncode == 0
    running.start("code-location", "code-location")
    running.wait("code-location", "code-location")
    running.start("webserver", "webserver")
    running.start("auditor", "webserver", "--read-only")
    running.wait("webserver", "webserver")
    running.wait("auditor", "webserver")
    yield guarded_lab


def rows(lab: GuardedLab) -> dict[str, list[str]]:
    """Everything in the three databases."""
    found = {}
    for name, url in lab.addresses.by_name.items():
        with (
            closing(psycopg2.connect(url.replace("+psycopg2", ""))) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
            for (table,) in cursor.fetchall():
                cursor.execute(sql.SQL("SELECT t::text FROM {} AS t").format(sql.Identifier(table)))
                found[f"{name}.{table}"] = sorted(row[0] for row in cursor.fetchall())
    return found


def was_refused(answer: Mapping[str, Any], name: str) -> bool:
    said = (answer.get("data") or {}).get(name)
    if isinstance(said, dict):
        each = next((value for value in said.values() if isinstance(value, list)), [said])
        return all(
            one["__typename"] == "UnauthorizedError" or "do not have permission" in one.get("why", "")
            for one in each
        )
    return any(
        "permission" in str(error).lower() or "Unauthorized" in str(error)
        for error in answer.get("errors", ())
    )


@dataclass(frozen=True)
class There:
    """What is there to be stopped, deleted or begun again, by the names of arguments."""

    known: dict[str, object]
    own: dict[str, dict[str, object]]
    """Of one mutation alone."""


@pytest.fixture(scope="module")
def there(lab: GuardedLab) -> There:
    """A run, a backfill, a sensor and a schedule, made by the lab's own webserver."""

    def made(question: str, mutation: str, how: str) -> Mapping[str, Any]:
        answer = lab.services.ask("webserver", question)
        assert answer["data"][mutation]["__typename"] == how, answer
        return dict(answer["data"][mutation])

    run = made(_LAUNCH, "launchRun", "LaunchRunSuccess")["run"]["runId"]
    made(_ADD, "addDynamicPartition", "AddDynamicPartitionSuccess")
    backfill = made(_BACKFILL, "launchPartitionBackfill", "LaunchBackfillSuccess")["backfillId"]
    found = lab.services.ask("webserver", _INSTIGATORS)["data"]
    sensor = next(one for one in found["sensorsOrError"]["results"] if one["name"] == "arrivals")
    schedule = found["schedulesOrError"]["results"][0]
    of_sensor, of_schedule = sensor["sensorState"], schedule["scheduleState"]
    known = {
        **_KNOWN,
        **dict.fromkeys(("runId", "parentRunId", "rootRunId"), run),
        "runIds": [run],
        "scheduleName": schedule["name"],
        "reexecutionParams": {"parentRunId": run, "strategy": "ALL_STEPS"},
        "backfillId": backfill,
        "parentBackfillId": backfill,
    }
    own = {
        "stopSensor": {"id": of_sensor["id"], "jobSelectorId": of_sensor["selectorId"]},
        "stopRunningSchedule": {"id": of_schedule["id"], "scheduleSelectorId": of_schedule["selectorId"]},
        "reexecutePartitionBackfill": {
            "reexecutionParams": {"parentRunId": backfill, "strategy": "ALL_STEPS"}
        },
        "launchPartitionBackfill": {
            "backfillParams": {"assetSelection": [{"path": ["raw_acquisition"]}], "partitionNames": ["P8"]}
        },
    }
    return There(known, own)


def test_every_mutation_is_refused_and_no_row_changes(lab: GuardedLab, there: There) -> None:
    running = lab.services
    schema = Schema(running.ask("auditor", _SCHEMA)["data"]["__schema"])
    assert len(schema.mutations) > 35
    before = rows(lab)
    assert len(before) > 30
    allowed = {}
    for mutation in schema.mutations:
        question, variables = schema.call(mutation, there.known, there.own)
        answer = running.ask("auditor", question, variables)
        if not was_refused(answer, mutation["name"]):
            allowed[mutation["name"]] = answer
    changed = {table for table, found in rows(lab).items() if found != before[table]}
    assert changed == set()
    assert allowed.keys() == _HARMLESS | _ASKED_LATER, allowed


def test_what_refused_them_was_that_it_is_read_only(lab: GuardedLab, there: There) -> None:
    """The same questions, asked of the lab's own webserver."""
    running = lab.services
    schema = Schema(running.ask("webserver", _SCHEMA)["data"]["__schema"])
    before = rows(lab)
    refused = []
    for mutation in schema.mutations:
        # These end the code location, of which the others ask.
        if "RepositoryLocation" in mutation["name"] or mutation["name"] == "reloadWorkspace":
            continue
        question, variables = schema.call(mutation, there.known, there.own)
        if was_refused(running.ask("webserver", question, variables), mutation["name"]):
            refused.append(mutation["name"])
    assert set(refused) == _NOWHERE
    after = rows(lab)
    changed = {table for table, found in after.items() if found != before[table]}
    dagster = next(name for name in lab.addresses.by_name if name.endswith("_dagster"))
    assert {f"{dagster}.{table}" for table in ("runs", "bulk_actions")} <= changed
