"""The state of partitioned checks, read by what changed, held against what Dagster makes of all results."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import dagster as dg
import hypothesis.strategies as st
import pytest
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationPlanned,
    AssetCheckEvaluationTargetMaterializationData,
)
from dagster._core.definitions.partitions.context import partition_loading_context
from dagster._core.events import DagsterEvent, DagsterEventType
from dagster._core.instance.utils import RUNLESS_RUN_ID
from dagster._core.storage.asset_check_state import AssetCheckState
from dagster._core.utils import make_new_run_id
from dagster_postgres.event_log import PostgresEventLogStorage
from hypothesis import HealthCheck, given, settings

from cell_assets.automation import check_states
from cell_assets.automation.dagster_storage import PatientEventLogStorage
from cell_assets_tests.automation.instances import instance_on

JOB = "some_job"
PLATES, POSITIONS = ("P1", "P2"), ("A/1/0", "A/1/1")
_fresh = itertools.count()


@dataclass(frozen=True)
class Checked:
    """An asset of its own, its check, and what can happen to them."""

    instance: dg.DagsterInstance
    key: dg.AssetCheckKey = field(
        default_factory=lambda: dg.AssetCheckKey(dg.AssetKey(f"asset_{next(_fresh)}"), "plausible")
    )
    definition: dg.MultiPartitionsDefinition = field(
        default_factory=lambda: dg.MultiPartitionsDefinition(
            {
                "plate": dg.DynamicPartitionsDefinition(name="plate"),
                "position": dg.DynamicPartitionsDefinition(name="position"),
            }
        )
    )

    def make(self, partition: str) -> None:
        self.instance.report_runless_asset_event(
            dg.AssetMaterialization(self.key.asset_key, partition=partition)
        )

    def plan(self, partitions: list[str]) -> str:
        """A run that is to check these; returns its id."""
        run = dg.DagsterRun(JOB, run_id=make_new_run_id(), status=dg.DagsterRunStatus.STARTED)
        self.instance.add_run(run)
        planned = AssetCheckEvaluationPlanned(
            asset_key=self.key.asset_key,
            check_name=self.key.name,
            partitions_subset=self.definition.subset_with_partition_keys(partitions),
        )
        self._report(run.run_id, DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED, planned)
        return run.run_id

    def check(self, run_id: str, partition: str, passed: bool) -> None:
        """Of the newest bytes, where there are any."""
        newest = self.instance.event_log_storage.get_latest_storage_id_by_partition(
            self.key.asset_key, DagsterEventType.ASSET_MATERIALIZATION
        ).get(partition)
        target = (
            None
            if newest is None
            else AssetCheckEvaluationTargetMaterializationData(
                storage_id=newest, run_id=RUNLESS_RUN_ID, timestamp=0.0
            )
        )
        evaluation = dg.AssetCheckEvaluation(
            asset_key=self.key.asset_key,
            check_name=self.key.name,
            passed=passed,
            partition=partition,
            target_materialization_data=target,
        )
        self._report(run_id, DagsterEventType.ASSET_CHECK_EVALUATION, evaluation)

    def end(self, run_id: str, succeeded: bool) -> None:
        kind = DagsterEventType.RUN_SUCCESS if succeeded else DagsterEventType.RUN_FAILURE
        self.instance.report_dagster_event(DagsterEvent(kind.value, JOB), run_id)

    def _report(self, run_id: str, kind: DagsterEventType, data: object) -> None:
        event = DagsterEvent(kind.value, JOB, event_specific_data=data)  # type: ignore[arg-type]
        self.instance.report_dagster_event(event, run_id)

    def states(self) -> tuple[Mapping[str, frozenset[str]], Mapping[str, frozenset[str]]]:
        """Partitions by status, as this storage says and as Dagster's own makes of all results."""
        storage, asked = self.instance.event_log_storage, [(self.key, self.definition)]
        assert isinstance(storage, PatientEventLogStorage)
        with partition_loading_context(dynamic_partitions_store=self.instance):
            ours = storage.get_asset_check_state(asked)[self.key]
            theirs = PostgresEventLogStorage.get_asset_check_state(storage, asked)[self.key]
        assert ours.in_progress_runs.keys() == theirs.in_progress_runs.keys()
        return _by_status(ours), _by_status(theirs)


def _by_status(state: AssetCheckState) -> dict[str, frozenset[str]]:
    return {
        status.value: frozenset(subset.subset_value.get_partition_keys())
        for status, subset in state.subsets.items()
    }


@pytest.fixture(scope="module")
def instance(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.DagsterInstance]:
    url = postgres_url.replace("/cell_assets?", "/cell_assets_dagster?")
    with instance_on(url, tmp_path_factory.mktemp("dagster")) as running:
        running.add_dynamic_partitions("plate", list(PLATES))
        running.add_dynamic_partitions("position", list(POSITIONS))
        yield running


KEYS = [f"{plate}|{position}" for plate in PLATES for position in POSITIONS]
ABSENT = "P9|A/1/0"
"""Not a key of the definition."""
_partition = st.sampled_from([*KEYS, ABSENT])
_steps = st.lists(
    st.one_of(
        st.tuples(st.just("make"), _partition),
        st.tuples(st.just("plan"), st.lists(_partition, min_size=1, max_size=4, unique=True)),
        st.tuples(st.just("check"), _partition, st.booleans()),
        st.tuples(st.just("end"), st.booleans()),
        st.tuples(st.just("look")),
    ),
    max_size=12,
)


# What was read is not looked at again, and is for a minute.
@pytest.mark.parametrize("late_s", [0.0, 60.0])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=_steps)
def test_what_changed_gives_what_everything_gives(
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
    late_s: float,
    steps: list[tuple[object, ...]],
) -> None:
    monkeypatch.setattr(check_states, "_LATE_S", late_s)
    checked = Checked(instance)
    runs: list[tuple[str, list[str]]] = []
    for what, *given_ in steps:
        match what, given_:
            case "make", [str(partition)]:
                checked.make(partition)
            case "plan", [list(partitions)]:
                runs.append((checked.plan(partitions), partitions))
            case "check", [str(partition), bool(passed)]:
                planned = [run for run, partitions in runs if partition in partitions]
                if planned:
                    checked.check(planned[-1], partition, passed)
            case "end", [bool(succeeded)]:
                if runs:
                    checked.end(runs[-1][0], succeeded)
            case _:
                ours, theirs = checked.states()
                assert ours == theirs
    ours, theirs = checked.states()
    assert ours == theirs


def test_a_look_at_what_has_not_changed_reads_no_results(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check_states, "_LATE_S", 0.0)
    checked = Checked(instance)
    run = checked.plan(KEYS)
    for key in KEYS:
        checked.make(key)
        checked.check(run, key, passed=key != KEYS[0])
    checked.end(run, succeeded=True)
    read: list[object] = []
    storage = instance.event_log_storage
    info = storage.get_asset_check_partition_info

    def noted(*args: object, **kwargs: object) -> object:
        read.append(kwargs.get("partition_keys"))
        return info(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(storage, "get_asset_check_partition_info", noted)
    asked = [(checked.key, checked.definition)]
    with partition_loading_context(dynamic_partitions_store=instance):
        first = storage.get_asset_check_state(asked)[checked.key]
        assert storage.get_asset_check_state(asked)[checked.key] is first
        assert read == [None]
        checked.make(KEYS[1])
        changed = storage.get_asset_check_state(asked)[checked.key]
    assert read == [None, [KEYS[1]]]
    found = _by_status(changed)
    assert found["FAILED"] == {KEYS[0]}
    assert found["SUCCEEDED"] == set(KEYS[2:])


def test_a_look_that_fails_is_no_look(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_states, "_LATE_S", 0.0)
    checked = Checked(instance)
    run = checked.plan(KEYS)
    assert checked.states()[0]["IN_PROGRESS"] == set(KEYS)
    for key in KEYS:
        checked.check(run, key, passed=True)

    def away(*_: object) -> object:
        raise ConnectionError

    with monkeypatch.context() as patched, pytest.raises(ConnectionError):
        patched.setattr(check_states, "_state", away)
        checked.states()
    assert checked.states()[0]["SUCCEEDED"] == set(KEYS)


def test_an_event_is_seen_that_is_stored_after_one_with_a_higher_id(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked, storage = Checked(instance), instance.event_log_storage
    run = checked.plan(KEYS)
    newest = storage.get_maximum_record_id()
    assert newest is not None
    with monkeypatch.context() as patched:
        patched.setattr(storage, "get_maximum_record_id", lambda: newest + 100)
        assert checked.states()[0]["IN_PROGRESS"] == set(KEYS)
        checked.check(run, KEYS[0], passed=True)
        ours, theirs = checked.states()
    assert ours == theirs
    assert ours["SUCCEEDED"] == {KEYS[0]}


def test_a_key_that_is_deleted_here_is_in_no_state(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check_states, "_LATE_S", 0.0)
    checked = Checked(instance)
    instance.add_dynamic_partitions("plate", ["P3"])
    run = checked.plan(["P3|A/1/0"])
    checked.check(run, "P3|A/1/0", passed=True)
    assert checked.states()[0]["SUCCEEDED"] == {"P3|A/1/0"}
    instance.delete_dynamic_partition("plate", "P3")
    ours, theirs = checked.states()
    assert ours == theirs
    assert ours["SUCCEEDED"] == frozenset()
