"""What became of the pods of a namespace, change by change."""

import threading
from dataclasses import dataclass, field

import urllib3
from kubernetes import client, watch
from kubernetes.client.exceptions import ApiException


@dataclass(frozen=True)
class Seen:
    """A pod at one moment."""

    name: str
    run: str
    """Dagster's run; empty for a pod of somebody else."""
    step: str
    """Empty for the pod of a run itself."""
    phase: str
    node: str | None
    reason: str
    """Why it is not scheduled, or why it failed."""


@dataclass
class PodHistory:
    """Every change of the pods of a namespace, in the order in which the API server made them."""

    core: client.CoreV1Api
    namespace: str
    seen: list[Seen] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def of(self, run: str, step: str) -> list[Seen]:
        """What was seen of one step of one run, or with step "" of the run's own pod."""
        return [one for one in list(self.seen) if (one.run, one.step) == (run, step)]

    def running_together(self, step: str) -> int:
        """How many pods of a step, or with step "" of runs, ran at the same time, at most."""
        phases: dict[str, str] = {}
        most = 0
        for one in list(self.seen):
            if one.run and one.step == step:
                phases[one.name] = one.phase
                most = max(most, list(phases.values()).count("Running"))
        return most

    def follow(self) -> None:
        """Write down what happens until `ended`."""
        version = None
        while not self.ended.is_set():
            try:
                for event in watch.Watch().stream(
                    self.core.list_namespaced_pod,
                    self.namespace,
                    resource_version=version,
                    timeout_seconds=1,
                ):
                    pod = event["object"]
                    version = pod.metadata.resource_version
                    self.seen.append(_seen(pod, event["type"]))
            except (ApiException, urllib3.exceptions.HTTPError):
                version = None


def _seen(pod: client.V1Pod, change: str) -> Seen:
    labels = pod.metadata.labels or {}
    why = [one.message for one in pod.status.conditions or [] if one.type == "PodScheduled" and one.message]
    ended = [
        state.reason
        for status in pod.status.container_statuses or []
        if (state := status.state.terminated) is not None
    ]
    return Seen(
        pod.metadata.name,
        labels.get("dagster/run-id", ""),
        labels.get("dagster/op", ""),
        "Gone" if change == "DELETED" else pod.status.phase,
        pod.spec.node_name,
        " ".join(filter(None, [*why, pod.status.reason, *ended])),
    )
