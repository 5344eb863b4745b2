"""The chart on a real API server: all of it is accepted, and with what it installs Fulcrum works.

There are no nodes, so nothing waits for pods; that these are made under Pod Security is seen.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster import installing
from cluster.building import Binaries
from cluster.control_plane import ControlPlane
from cluster.kubectl import Kubectl, KubectlError
from cluster.processes import this_process
from helm.fixture import helm
from helm.running import CHART, NAMESPACE, RELEASE, Helm, HelmError
from helm.value_sets import HERE, value_sets
from operator_site import Site, check_promoted, promoting_job
from operators import Jobs, wait_until

from fulcrum_operator.resources.names import OPERATOR_NAME, OUR_KINDS

__all__ = ["helm"]  # a fixture is found where it is imported

SETS = value_sets()
PLACES = ("team-a", "team-b", "ann", "bob", "kubeflow")
CRDS = [f"{kind.plural}.{kind.group}" for kind in OUR_KINDS]
INSTALLED = (
    *("customresourcedefinitions", "clusterroles", "clusterrolebindings", "roles", "rolebindings"),
    *("validatingadmissionpolicies", "validatingadmissionpolicybindings", "networkpolicies"),
    *("deployments", "services", "configmaps", "serviceaccounts", "poddisruptionbudgets"),
)
RESTRICTED = "pod-security.kubernetes.io/enforce=restricted"
CREATED_WITHIN_S = 60.0


@pytest.fixture(scope="module")
def plane(built: Binaries, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane that knows nothing of Fulcrum, but has namespaces as others made them."""
    made = ControlPlane(tmp_path_factory.mktemp("chart"), built, owner=this_process())
    made.start()
    made.kubectl("create", "namespace", NAMESPACE)
    made.kubectl("label", "namespace", NAMESPACE, RESTRICTED)
    made.kubectl("apply", "-f", str(HERE / "monitoring.yaml"))
    wait_for_kinds(made.kubectl)
    yield made
    made.stop()


@pytest.fixture
def installer(plane: ControlPlane, helm: Helm, tmp_path: Path) -> Iterator[Helm]:
    """Helm as an administrator; what it installed is gone after the test, but for what it keeps."""
    made = Helm(helm.binary, tmp_path / "helm", plane.admin_kubeconfig)
    yield made
    if RELEASE in made("list", "--namespace", NAMESPACE, "--short").split():
        made("uninstall", RELEASE, "--namespace", NAMESPACE)


def install(installer: Helm, values: dict[str, Any], command: str = "install") -> str:
    return installer(command, RELEASE, str(CHART), "--namespace", NAMESPACE, values=values)


@pytest.mark.parametrize("name", SETS)
def test_every_object_is_accepted(plane: ControlPlane, helm: Helm, name: str) -> None:
    """A server-side dry run, in which an unknown field is an error."""
    for place in PLACES:
        apply(plane.kubectl, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": place}})
    said = plane.kubectl(
        *("apply", "--server-side", "--dry-run=server", "--validate=strict", "--force-conflicts"),
        *("--output=name", "-f", "-"),
        stdin=helm.render(SETS[name]),
    )
    assert len(said.split()) == len(helm.objects(SETS[name]))


def test_rights_follow_from_the_cluster_to_namespaces_and_back(
    plane: ControlPlane, installer: Helm
) -> None:
    """Nothing of the wider rights is left behind, and a namespace that was made stays."""
    install(installer, SETS["minimal"])
    assert may(plane.kubectl, "elsewhere")
    install(installer, {**SETS["namespaces"], "namespaces": ["made"]}, "upgrade")
    assert (may(plane.kubectl, "made"), may(plane.kubectl, "elsewhere")) == (True, False)
    installer("rollback", RELEASE, "1", "--namespace", NAMESPACE)
    assert may(plane.kubectl, "elsewhere")
    labels = plane.kubectl("get", "namespace", "made", "--output=jsonpath={.metadata.labels}")
    assert json.loads(labels)["pod-security.kubernetes.io/enforce"] == "restricted"


@pytest.mark.parametrize("layout", ["cluster", "namespaces"])
def test_operator_does_its_work_with_the_rights_of_the_chart(
    plane: ControlPlane, installer: Helm, tmp_path: Path, namespace_of_chart: str, layout: str
) -> None:
    places = [namespace_of_chart] if layout == "namespaces" else []
    values = {**SETS["minimal"], "namespaces": places, "networkPolicy": {"jobs": False}}
    install(installer, values)
    wait_for_kinds(plane.kubectl)
    site = Site(plane, namespace_of_chart, tmp_path / "site")
    try:
        operator = site.new_operator(namespaces=places)
        operator.start()
        name = promoting_job(site, "succeed")
        site.jobs.ended(name)
        check_promoted(site, name)
        assert operator.stop() == 0
        assert "Forbidden" not in operator.log
    finally:
        site.close()


def test_operator_of_some_namespaces_cannot_look_at_others(
    plane: ControlPlane, installer: Helm, tmp_path: Path, namespace_of_chart: str
) -> None:
    values = {**SETS["minimal"], "namespaces": ["default"], "networkPolicy": {"jobs": False}}
    install(installer, values)
    wait_for_kinds(plane.kubectl)
    site = Site(plane, namespace_of_chart, tmp_path / "site")
    try:
        operator = site.new_operator()
        operator.start(ready=False)
        wait_until(lambda: not operator.alive, CREATED_WITHIN_S)
        assert "forbidden" in operator.log.lower()
    finally:
        site.close()


def test_status_is_the_chosen_accounts_alone(plane: ControlPlane, installer: Helm) -> None:
    """The policies come with the name that the release gives the operator."""
    install(installer, {**SETS["minimal"], "serviceAccount": {"name": "compressor"}})
    policy = plane.kubectl("get", "validatingadmissionpolicy", "fulcrum-status", "--output=yaml")
    assert f"system:serviceaccount:{NAMESPACE}:compressor" in policy
    assert may(plane.kubectl, "elsewhere", "compressor")
    assert not may(plane.kubectl, "elsewhere", OPERATOR_NAME)


def test_what_was_applied_by_hand_can_be_taken_over(plane: ControlPlane, installer: Helm) -> None:
    installing.install(plane)
    words = ("install", RELEASE, str(CHART), "--namespace", NAMESPACE)
    with pytest.raises(HelmError, match="cannot be imported into the current release"):
        installer(*words, values=SETS["minimal"])
    installer(*words, "--take-ownership", "--force-conflicts", values=SETS["minimal"])
    account = "--output=jsonpath={.metadata.annotations.meta\\.helm\\.sh/release-name}"
    assert plane.kubectl("get", "clusterrole", OPERATOR_NAME, account) == RELEASE


def test_objects_of_users_outlive_upgrade_rollback_and_removal(
    plane: ControlPlane, installer: Helm, namespace_of_chart: str
) -> None:
    kubectl = plane.kubectl
    said = install(installer, SETS["minimal"])
    assert "fulcrum" in said
    jobs = Jobs(kubectl, namespace_of_chart)
    wait_for_kinds(kubectl)
    jobs.create("ModelChannel", "production", {"description": "production"})
    jobs.apply("succeed")
    before = uids(jobs)
    first = deployment(kubectl)
    assert first["spec"]["replicas"] == 2
    wait_until(lambda: len(pods(kubectl)) == 2, CREATED_WITHIN_S)

    changed = {**SETS["minimal"], "replicas": 3, "settings": {"log_level": "DEBUG"}}
    install(installer, changed, "upgrade")
    second = deployment(kubectl)
    assert second["spec"]["replicas"] == 3
    assert checksum(second) != checksum(first)
    assert uids(jobs) == before

    installer("rollback", RELEASE, "1", "--namespace", NAMESPACE)
    third = deployment(kubectl)
    assert (third["spec"]["replicas"], checksum(third)) == (2, checksum(first))
    assert uids(jobs) == before

    installer("uninstall", RELEASE, "--namespace", NAMESPACE)
    assert left_over(kubectl) == {f"CustomResourceDefinition {name}" for name in CRDS}
    assert uids(jobs) == before

    install(installer, {**SETS["minimal"], "crds": {"keep": False}})
    assert uids(jobs) == before
    installer("uninstall", RELEASE, "--namespace", NAMESPACE)
    wait_until(lambda: left_over(kubectl) == set(), CREATED_WITHIN_S)


# --- helpers


@pytest.fixture
def namespace_of_chart(plane: ControlPlane) -> str:
    """A namespace of the test's own on the chart's control plane."""
    name = f"test-{secrets.token_hex(4)}"
    plane.kubectl("create", "namespace", name)
    return name


def apply(kubectl: Kubectl, item: dict[str, Any]) -> None:
    kubectl("apply", "-f", "-", stdin=yaml.safe_dump(item))


def deployment(kubectl: Kubectl) -> dict[str, Any]:
    words = ("get", "deployment", OPERATOR_NAME, f"--namespace={NAMESPACE}", "--output=json")
    found: dict[str, Any] = json.loads(kubectl(*words))
    return found


def checksum(found: dict[str, Any]) -> str:
    return str(found["spec"]["template"]["metadata"]["annotations"]["checksum/settings"])


def pods(kubectl: Kubectl) -> list[str]:
    return kubectl("get", "pods", f"--namespace={NAMESPACE}", "--output=name").split()


def uids(jobs: Jobs) -> set[str]:
    """Return what identifies the objects that a user made."""
    made = (jobs.get("succeed"), jobs.get("production", "ModelChannel"))
    return {each["metadata"]["uid"] for each in made}


def wait_for_kinds(kubectl: Kubectl) -> None:
    """Wait until the API server knows all kinds."""
    kubectl("wait", "--for=condition=Established", "customresourcedefinitions", "--all")


def left_over(kubectl: Kubectl) -> set[str]:
    """Return kind and name of everything that has the release's label and is not being deleted."""
    selector = f"--selector=app.kubernetes.io/instance={RELEASE}"
    listed = kubectl("get", ",".join(INSTALLED), "-A", selector, "--output=json")
    return {
        f"{each['kind']} {each['metadata']['name']}"
        for each in json.loads(listed)["items"]
        if "deletionTimestamp" not in each["metadata"]
    }


def may(kubectl: Kubectl, namespace: str, account: str = OPERATOR_NAME) -> bool:
    """Return whether the operator may look at jobs in a namespace."""
    user = f"--as=system:serviceaccount:{NAMESPACE}:{account}"
    words = ("auth", "can-i", "list", "compressionjobs.fulcrum.dev", f"--namespace={namespace}")
    try:
        return kubectl(*words, user).strip() == "yes"
    except KubectlError:
        return False
