"""What the tests' runs on Kubernetes run: two steps in pods of their own, one of which may fail or wait."""

import os
import time
from pathlib import Path

import dagster as dg
from dagster_k8s import k8s_job_executor


class Second(dg.Config):
    """What the second step does."""

    fail: bool = False
    wait_s: float = 0.0
    started: str = ""
    """File that says by its existence that the step runs."""


@dg.op
def first() -> str:
    """Name of the pod that ran this step."""
    return os.environ["HOSTNAME"]


@dg.op(out=dg.Out(dict))
def second(context: dg.OpExecutionContext, config: Second, pod: str) -> dict[str, str]:
    """Pods of both steps."""
    if config.started:
        Path(config.started).touch()
    time.sleep(config.wait_s)
    if config.fail:
        raise dg.Failure("the second step was told to fail", allow_retries=False)
    context.add_output_metadata({"first_pod": pod, "second_pod": os.environ["HOSTNAME"]})
    return {"first": pod, "second": os.environ["HOSTNAME"]}


@dg.job(executor_def=k8s_job_executor)
def two_steps() -> None:
    """The second after the first."""
    second(first())


defs = dg.Definitions(jobs=[two_steps])
