"""Tables of states of runs and pods, and their meaning; no network."""

from __future__ import annotations

from typing import Any

import pytest

from fulcrum_operator.engines.kubeflow.pods import NODE_NAME, ended, waiting
from fulcrum_operator.engines.kubeflow.runs import Run
from fulcrum_operator.engines.protocol import Trouble


@pytest.mark.parametrize(
    ("state", "course"),
    [
        ("PENDING", "Pending"),
        ("RUNNING", "Running"),
        ("PAUSED", "Running"),
        ("CANCELING", "Running"),
        ("SUCCEEDED", "Ended"),
        ("SKIPPED", "Ended"),
        ("FAILED", "Ended"),
        ("CANCELED", "Ended"),
        ("RUNTIME_STATE_UNSPECIFIED", "Unknown"),
        ("HIBERNATING", "Unknown"),
        ("", "Pending"),
    ],
)
def test_every_state_has_a_meaning(state: str, course: str) -> None:
    assert Run("1", "key", state).course == course


@pytest.mark.parametrize(
    ("state", "history", "terminated"),
    [
        pytest.param("FAILED", "PENDING RUNNING CANCELING FAILED", True, id="as recorded"),
        pytest.param("FAILED", "PENDING RUNNING FAILED", False, id="failed by itself"),
        pytest.param("FAILED", "PENDING FAILED", False, id="never ran"),
        pytest.param("CANCELING", "PENDING RUNNING", True, id="history lags behind"),
        pytest.param("CANCELED", "PENDING CANCELED", True, id="never seen, but in the schema"),
        pytest.param(
            "RUNNING", "PENDING RUNNING CANCELING FAILED RUNNING", False, id="retried since"
        ),
        pytest.param(
            "FAILED", "PENDING RUNNING CANCELING FAILED RUNNING FAILED", False, id="failed since"
        ),
        pytest.param("SUCCEEDED", "PENDING RUNNING SUCCEEDED", False, id="ended well"),
        pytest.param("FAILED", "PENDING - RUNNING FAILED", False, id="a moment without a state"),
        pytest.param(
            "FAILED", "PENDING - CANCELING FAILED", True, id="stopped after such a moment"
        ),
        pytest.param(
            "RUNNING", "PENDING RUNNING CANCELING FAILED -", False, id="retried, without a state"
        ),
        pytest.param("", "PENDING RUNNING CANCELING FAILED", False, id="retried just now"),
        pytest.param(
            "FAILED",
            "PENDING RUNNING CANCELING FAILED - FAILED",
            False,
            id="failed since, before any state was seen",
        ),
    ],
)
def test_history_shows_that_a_run_was_stopped(state: str, history: str, terminated: bool) -> None:
    states = tuple(each.replace("-", "") for each in history.split())
    assert Run("1", "key", state, states).was_terminated is terminated


EXECUTOR = "fulcrum-x(0).root(0).prune(0).executor(0)"
DRIVER = "fulcrum-x(0).root(0).evaluate-driver(0)"


def pod(node: str = EXECUTOR, **status: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p", "annotations": {NODE_NAME: node}}, "status": status}


def container(**state: Any) -> list[dict[str, Any]]:
    return [{"name": "main", "state": state}]


@pytest.mark.parametrize(
    ("node", "who"),
    [
        pytest.param(EXECUTOR, "stage prune", id="Argo has defaults for templates"),
        pytest.param("fulcrum-x.root.evaluate.executor(0)", "stage evaluate", id="it has none"),
        pytest.param(
            "fulcrum-x.root.compute.executor(0)",
            "the pod of all stages but validate",
            id="most stages",
        ),
        pytest.param(
            "fulcrum-x(0).root(0).whole(0).executor(0)", "the pod of all stages", id="all stages"
        ),
        pytest.param("fulcrum-x.root.evaluate.executor", "stage evaluate", id="no index at all"),
        pytest.param(DRIVER, "Kubeflow's driver pod p", id="a driver"),
        pytest.param(
            "fulcrum-x.root.evaluate-driver", "Kubeflow's driver pod p", id="a driver, no index"
        ),
        pytest.param("", "Kubeflow's driver pod p", id="no name of a node"),
    ],
)
def test_stages_are_known_by_their_nodes(node: str, who: str) -> None:
    trouble = waiting([pod(node, **UNSCHEDULABLE)])
    assert trouble is not None
    assert trouble.message.startswith(who)


UNSCHEDULABLE = {
    "phase": "Pending",
    "conditions": [
        {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": "0/3 nodes are available: 1 Insufficient nvidia.com/gpu.",
        }
    ],
}


@pytest.mark.parametrize(
    ("pods", "trouble"),
    [
        pytest.param([], None, id="no pods yet"),
        pytest.param([pod(phase="Running")], None, id="running"),
        pytest.param([pod(phase="Pending")], None, id="just created"),
        pytest.param(
            [pod(**UNSCHEDULABLE)],
            Trouble(
                "Unschedulable",
                "stage prune waits: 0/3 nodes are available: 1 Insufficient nvidia.com/gpu.",
            ),
            id="no node",
        ),
        pytest.param(
            [pod(DRIVER, **UNSCHEDULABLE)],
            Trouble(
                "Unschedulable",
                "Kubeflow's driver pod p, which runs outside of pools, waits: "
                "0/3 nodes are available: 1 Insufficient nvidia.com/gpu.",
            ),
            id="no node for the driver",
        ),
        pytest.param(
            [
                pod(
                    phase="Pending",
                    containerStatuses=container(
                        waiting={"reason": "ImagePullBackOff", "message": "not found"}
                    ),
                )
            ],
            Trouble("ImagePullBackOff", "stage prune does not start: ImagePullBackOff: not found"),
            id="no image",
        ),
        pytest.param(
            [
                pod(
                    phase="Pending",
                    initContainerStatuses=container(
                        waiting={"reason": "CreateContainerConfigError"}
                    ),
                )
            ],
            Trouble(
                "CreateContainerConfigError",
                "stage prune does not start: CreateContainerConfigError: "
                "CreateContainerConfigError",
            ),
            id="no secret",
        ),
        pytest.param(
            [
                pod(
                    phase="Pending",
                    containerStatuses=container(waiting={"reason": "PodInitializing"}),
                )
            ],
            None,
            id="starting",
        ),
        pytest.param([pod(phase="Succeeded", conditions=[])], None, id="over"),
    ],
)
def test_pods_show_what_a_run_waits_for(
    pods: list[dict[str, Any]], trouble: Trouble | None
) -> None:
    assert waiting(pods) == trouble


@pytest.mark.parametrize(
    ("pods", "trouble"),
    [
        pytest.param([], None, id="no pods left"),
        pytest.param(
            [
                pod(
                    phase="Failed",
                    containerStatuses=container(terminated={"reason": "Error", "exitCode": 1}),
                )
            ],
            None,
            id="its program failed",
        ),
        pytest.param(
            [
                pod(
                    phase="Failed",
                    containerStatuses=container(terminated={"reason": "OOMKilled"}),
                )
            ],
            Trouble("OOMKilled", "stage prune was ended: OOMKilled (its pool's memory)"),
            id="memory",
        ),
        pytest.param(
            [pod(phase="Failed", reason="Evicted", message="The node was low on resource")],
            Trouble("Evicted", "stage prune was ended: The node was low on resource"),
            id="evicted",
        ),
        pytest.param(
            [
                pod(
                    phase="Failed",
                    conditions=[
                        {
                            "type": "DisruptionTarget",
                            "status": "True",
                            "reason": "PreemptionByScheduler",
                        }
                    ],
                )
            ],
            Trouble("PreemptionByScheduler", "stage prune was ended: PreemptionByScheduler"),
            id="preempted",
        ),
    ],
)
def test_pods_show_what_ended_a_run(pods: list[dict[str, Any]], trouble: Trouble | None) -> None:
    assert ended(pods) == trouble
