"""Render the chart with several values, and check the objects."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster.installing import ROOT

from fulcrum_operator.engines.job.naming import JOB_LABEL, MANAGED_BY, MANAGER
from fulcrum_operator.resources.names import OPERATOR_NAME, OPERATOR_USER
from helm.renders import reviewed
from helm.running import CHART, NAMESPACE, RELEASE, Helm, Object, of_kind, read_all
from helm.value_sets import golden, value_sets

SETS = value_sets()
DEPLOYED = [
    each
    for name in ("rbac", "admission")
    for each in read_all((ROOT / "operator" / "deploy" / f"{name}.yaml").read_text())
]
CRDS = {
    crd["metadata"]["name"]: crd
    for path in (ROOT / "crds").glob("*.yaml")
    for crd in read_all(path.read_text())
}
KEEP = {"helm.sh/resource-policy": "keep"}
POLICIES = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")


@pytest.mark.parametrize("name", SETS)
def test_render_is_the_reviewed_one(helm: Helm, name: str) -> None:
    """`make charts` rewrites them."""
    now, before = reviewed(helm, SETS[name]), golden(name).read_text()
    difference = difflib.unified_diff(before.splitlines(), now.splitlines(), lineterm="")
    assert now == before, "\n".join(difference)


def test_no_reviewed_render_is_left_over() -> None:
    assert {path.stem for path in golden("x").parent.glob("*")} == set(SETS)


def test_packaged_chart_renders_the_same(helm: Helm, tmp_path: Path) -> None:
    """Nothing that templates read is left out of the package."""
    helm("package", str(CHART), "--destination", str(tmp_path))
    (package,) = tmp_path.glob("*.tgz")
    words = ("template", RELEASE, str(package), "--namespace", NAMESPACE)
    assert helm(*words, values=SETS["everything"]) == helm.render(SETS["everything"])


# --- what is taken from elsewhere is taken whole


def test_schemas_are_those_of_the_repository(helm: Helm) -> None:
    for keep, wanted in ((True, KEEP), (False, None)):
        objects = helm.objects({**SETS["minimal"], "crds": {"keep": keep}})
        crds = of_kind(objects, "CustomResourceDefinition")
        given = [each["metadata"].pop("annotations", None) for each in crds]
        assert given == [wanted] * len(CRDS)
        assert {each["metadata"]["name"]: without_labels(each) for each in crds} == CRDS


def test_policies_are_those_of_the_repository(helm: Helm) -> None:
    objects = helm.objects(SETS["minimal"])
    for kind in POLICIES:
        sources, ours = of_kind(DEPLOYED, kind), of_kind(objects, kind)
        assert sources
        assert sorted_by_name(map(without_labels, ours)) == sorted_by_name(sources)


def test_policies_know_the_operator_by_its_name(helm: Helm) -> None:
    values = {**SETS["minimal"], "serviceAccount": {"name": "compressor"}}
    source, text = (
        yaml.safe_dump_all(of_kind(objects, POLICIES[0]), width=10_000)
        for objects in (DEPLOYED, helm.objects(values))
    )
    assert OPERATOR_USER not in text
    user = f"system:serviceaccount:{NAMESPACE}:compressor"
    assert text.count(user) == source.count(OPERATOR_USER) > 0


def test_nothing_is_bound_to_the_usual_namespace(helm: Helm) -> None:
    values = {**SETS["monitored"], "crds": {"install": False}}
    assert NAMESPACE in helm.render(values)
    text = helm.render(values, namespace="elsewhere")
    assert NAMESPACE not in text
    assert f"system:serviceaccount:elsewhere:{OPERATOR_NAME}" in text
    config = of_kind(read_all(text), "ConfigMap")
    assert yaml.safe_load(config[0]["data"]["settings.yaml"])["namespace"] == "elsewhere"


def test_operators_of_other_releases_may_write_status_too(helm: Helm) -> None:
    other = "system:serviceaccount:team-b:fulcrum-operator"
    values = {**SETS["minimal"], "admission": {"operators": [other]}}
    (policy,) = of_kind(helm.objects(values), POLICIES[0], "fulcrum-status")
    (rule,) = policy["spec"]["validations"]
    assert rule["expression"] == f"request.userInfo.username in ['{OPERATOR_USER}', '{other}']"


@pytest.mark.parametrize("name", SETS)
def test_notes_show_the_next_command(helm: Helm, name: str) -> None:
    words = ("install", RELEASE, str(CHART), "--namespace", NAMESPACE, "--dry-run=client")
    notes = helm(*words, values=SETS[name]).partition("\nNOTES:\n")[2]
    (deployment,) = of_kind(helm.objects(SETS[name]), "Deployment")
    wait = f"kubectl rollout status deployment/{deployment['metadata']['name']}"
    assert f"{wait} --namespace={NAMESPACE}\n" in notes
    assert ("kubectl create secret" in notes) == bool(SETS[name]["store"].get("existingSecret"))
    unbounded = name in ("minimal", "monitored")
    assert ("No NetworkPolicy bounds" in notes) == unbounded


def test_roles_of_people_are_those_of_the_repository(helm: Helm) -> None:
    roles = {each["metadata"]["name"]: each for each in of_kind(DEPLOYED, "ClusterRole")}
    del roles[OPERATOR_NAME]
    assert len(roles) > 3
    objects = helm.objects(SETS["minimal"])
    for name, source in roles.items():
        (made,) = of_kind(objects, "ClusterRole", name)
        labels = source["metadata"].get("labels", {})
        assert labels.items() <= made["metadata"]["labels"].items()
        assert made["rules"] == source["rules"]


def test_alerts_are_those_of_the_documents(helm: Helm) -> None:
    text = (ROOT / "docs/prometheus/rules.yaml").read_text()
    (rule,) = of_kind(helm.objects(SETS["monitored"]), "PrometheusRule")
    assert rule["spec"] == yaml.safe_load(text)
    (other,) = of_kind(helm.objects(SETS["monitored"], release="lab"), "PrometheusRule")
    named = text.replace('job="fulcrum-operator"', 'job="lab-fulcrum-operator"')
    assert other["spec"] == yaml.safe_load(named) != yaml.safe_load(text)


@pytest.mark.parametrize("kind", ["ServiceMonitor", "PodMonitor"])
def test_scrapes_have_the_job_that_alerts_ask_for(helm: Helm, kind: str) -> None:
    for release, job in ((RELEASE, "fulcrum-operator"), ("lab", "lab-fulcrum-operator")):
        (monitor,) = of_kind(helm.objects(SETS["monitored"], release), kind)
        (endpoint,) = monitor["spec"].get("endpoints") or monitor["spec"]["podMetricsEndpoints"]
        assert endpoint["relabelings"] == [{"targetLabel": "job", "replacement": job}]


# --- rights

Right = tuple[str, str, tuple[str, ...], str]


def rights(rules: Iterable[dict[str, Any]]) -> set[Right]:
    """Return each (group, resource, names, verb) that rules give."""
    return {
        (group, resource, tuple(rule.get("resourceNames", ())), verb)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def of_operator(objects: list[Object]) -> tuple[set[Right], dict[str, set[Right]]]:
    """Return what the operator may do in the whole cluster, and in single namespaces."""
    (everywhere,) = (each["rules"] for each in of_kind(objects, "ClusterRole", OPERATOR_NAME))
    within = {
        each["metadata"]["namespace"]: rights(each["rules"])
        for each in of_kind(objects, "Role", OPERATOR_NAME)
    }
    return rights(everywhere), within


SOURCE = of_operator(DEPLOYED)
OF_NO_NAMESPACE = {"namespaces", "customresourcedefinitions"} | {
    crd["spec"]["names"]["plural"] for crd in CRDS.values() if crd["spec"]["scope"] == "Cluster"
}
OF_PEOPLE = {each["metadata"]["name"] for each in of_kind(DEPLOYED, "ClusterRole")} - {
    OPERATOR_NAME
}
OF_ENGINE_JOB = {"jobs", "pods", "workloads"}


def test_operator_may_do_in_the_cluster_what_it_uses(helm: Helm) -> None:
    everywhere, within = of_operator(helm.objects(SETS["minimal"]))
    assert everywhere == SOURCE[0]
    assert within == {}


def test_operator_of_some_namespaces_may_do_the_same_in_these_only(helm: Helm) -> None:
    everywhere, within = of_operator(helm.objects(SETS["namespaces"]))
    of_cluster = {each for each in SOURCE[0] if each[1] in OF_NO_NAMESPACE}
    assert everywhere == of_cluster != set()
    assert within == dict.fromkeys(["team-a", "team-b"], SOURCE[0] - of_cluster)


def test_rights_of_an_engine_go_with_it(helm: Helm) -> None:
    everywhere, _ = of_operator(helm.objects(SETS["kubeflow"]))
    of_job = {each for each in SOURCE[0] if each[1] in OF_ENGINE_JOB} | {("", "events", (), "list")}
    assert everywhere == SOURCE[0] - of_job
    assert of_job < SOURCE[0]


@pytest.mark.parametrize("name", ["minimal", "namespaces"])
def test_lease_is_the_operators_alone(helm: Helm, name: str) -> None:
    (lease,) = of_kind(helm.objects(SETS[name]), "Role", f"{OPERATOR_NAME}-lease")
    assert lease["metadata"]["namespace"] == NAMESPACE
    assert rights(lease["rules"]) == SOURCE[1][NAMESPACE]


@pytest.mark.parametrize(
    ("name", "places"), [("kubeflow", ["kubeflow"]), ("profiles", ["ann", "bob"])]
)
def test_rights_where_runs_of_kubeflow_are(helm: Helm, name: str, places: list[str]) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/kubeflow.md").read_text(), re.DOTALL)
    (documented,) = (yaml.safe_load(block) for block in blocks if "name: fulcrum-runs" in block)
    roles = of_kind(helm.objects(SETS[name]), "Role", f"{OPERATOR_NAME}-runs")
    assert [each["metadata"]["namespace"] for each in roles] == places
    assert [each["rules"] for each in roles] == [documented["rules"]] * len(places)


def address(role: Object) -> tuple[str, str, str]:
    return role["kind"], role["metadata"]["name"], role["metadata"].get("namespace", "")


def bound(binding: Object) -> tuple[str, str, str]:
    """Return the address of the role that a binding gives."""
    of = binding["roleRef"]
    return of["kind"], of["name"], binding["metadata"].get("namespace", "")


@pytest.mark.parametrize("name", SETS)
def test_every_role_is_bound_to_the_operator_and_none_reads_secrets(helm: Helm, name: str) -> None:
    objects = helm.objects(SETS[name])
    (deployment,) = of_kind(objects, "Deployment")
    account = deployment["spec"]["template"]["spec"]["serviceAccountName"]
    bindings = [*of_kind(objects, "RoleBinding"), *of_kind(objects, "ClusterRoleBinding")]
    subject = {"kind": "ServiceAccount", "name": account, "namespace": NAMESPACE}
    assert [each["subjects"] for each in bindings] == [[subject]] * len(bindings)
    roles = [*of_kind(objects, "Role"), *of_kind(objects, "ClusterRole")]
    operators = [each for each in roles if each["metadata"]["name"] not in OF_PEOPLE]
    assert sorted(map(bound, bindings)) == sorted(map(address, operators))
    verbs = {right for role in roles for right in rights(role["rules"])}
    assert not [each for each in verbs if each[1] in ("secrets", "*") or "*" in (each[0], each[3])]


# --- pods


@pytest.mark.parametrize("name", SETS)
def test_pod_keeps_to_the_restricted_standard(helm: Helm, name: str) -> None:
    pod = pod_of(helm.objects(SETS[name]))
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["securityContext"].get("runAsUser") == (None if name == "bare" else 65532)
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    mounted = {each["mountPath"]: each["name"] for each in container["volumeMounts"]}
    assert mounted["/tmp"] == "tmp"
    assert {each["name"] for each in pod["volumes"]} == set(mounted.values())


@pytest.mark.parametrize("name", SETS)
def test_ports_and_selectors_meet(helm: Helm, name: str) -> None:
    objects = helm.objects(SETS[name])
    (deployment,) = of_kind(objects, "Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    (port,) = pod_of(objects)["containers"][0]["ports"]
    assert port["containerPort"] == settings_of(objects)["http"]["port"]
    selectors = [
        deployment["spec"]["selector"]["matchLabels"],
        *(each["spec"]["selector"] for each in of_kind(objects, "Service")),
        *(each["spec"]["selector"]["matchLabels"] for kind in ("PodDisruptionBudget", "PodMonitor")
          for each in of_kind(objects, kind)),
        *(each["spec"]["podSelector"]["matchLabels"]
          for each in of_kind(objects, "NetworkPolicy", deployment["metadata"]["name"])),
    ]  # fmt: skip
    assert all(selector.items() <= labels.items() for selector in selectors)
    for monitor in of_kind(objects, "ServiceMonitor"):
        (service,) = of_kind(objects, "Service")
        wanted = monitor["spec"]["selector"]["matchLabels"]
        assert wanted.items() <= service["metadata"]["labels"].items()


def test_new_settings_make_new_pods_and_nothing_else_does(helm: Helm) -> None:
    def checksum(**values: Any) -> str:
        (deployment,) = of_kind(helm.objects({**SETS["minimal"], **values}), "Deployment")
        return str(deployment["spec"]["template"]["metadata"]["annotations"]["checksum/settings"])

    assert checksum() == checksum(replicas=3)
    assert checksum() != checksum(settings={"log_level": "DEBUG"})


# --- who may talk to whom


def test_pods_of_jobs_reach_dns_and_the_store_only(helm: Helm) -> None:
    policies = of_kind(helm.objects(SETS["namespaces"]), "NetworkPolicy", f"{OPERATOR_NAME}-jobs")
    assert [each["metadata"]["namespace"] for each in policies] == ["team-a", "team-b"]
    for policy in policies:
        spec = policy["spec"]
        assert spec["policyTypes"] == ["Ingress", "Egress"]
        assert "ingress" not in spec
        dns, store = spec["egress"]
        assert {each["port"] for each in dns["ports"]} == {53}
        (peer,) = store["to"]
        blocked = {"169.254.169.254/32", *SETS["namespaces"]["networkPolicy"]["apiServer"]}
        assert set(peer["ipBlock"]["except"]) == blocked
        assert [each["port"] for each in store["ports"]] == [443, 8333]


def test_what_is_left_out_of_all_addresses_is_of_their_family(helm: Helm) -> None:
    """The API server refuses others."""
    policy = {
        "apiServer": ["10.96.0.1/32", "fd00:10::1/128"],
        "store": {"to": [{"ipBlock": {"cidr": cidr}} for cidr in ("0.0.0.0/0", "::/0")]},
    }
    values = {**SETS["minimal"], "namespaces": ["team-a"], "networkPolicy": policy}
    (jobs,) = of_kind(helm.objects(values), "NetworkPolicy", f"{OPERATOR_NAME}-jobs")
    assert [peer["ipBlock"]["except"] for peer in jobs["spec"]["egress"][1]["to"]] == [
        ["169.254.169.254/32", "10.96.0.1/32"],
        ["fd00:ec2::254/128", "fd00:10::1/128"],
    ]


def test_policy_is_for_the_pods_that_the_engine_makes(helm: Helm) -> None:
    (policy, _) = of_kind(
        helm.objects(SETS["namespaces"]), "NetworkPolicy", f"{OPERATOR_NAME}-jobs"
    )
    selector = policy["spec"]["podSelector"]
    assert selector["matchLabels"] == {MANAGED_BY: MANAGER}
    assert selector["matchExpressions"] == [{"key": JOB_LABEL, "operator": "Exists"}]


def test_operator_goes_only_where_it_must_once_that_is_known(helm: Helm) -> None:
    def peers(name: str) -> list[str]:
        (policy,) = of_kind(helm.objects(SETS[name]), "NetworkPolicy", OPERATOR_NAME)
        return [str(rule["to"]) for rule in policy["spec"]["egress"][1:]]

    (anywhere,) = peers("minimal")
    assert "169.254.169.254/32" in anywhere
    assert "fd00:ec2::254/128" in anywhere
    server, store, kubeflow = peers("kubeflow")
    assert ("10.96.0.1/32" in server, "minio" in store, "'kubeflow'" in kubeflow) == (True,) * 3


# --- helpers


def settings_of(objects: list[Object]) -> dict[str, Any]:
    (config,) = of_kind(objects, "ConfigMap")
    found: dict[str, Any] = yaml.safe_load(config["data"]["settings.yaml"])
    return found


def pod_of(objects: list[Object]) -> dict[str, Any]:
    (deployment,) = of_kind(objects, "Deployment")
    found: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return found


def without_labels(item: Object) -> Object:
    metadata = {name: value for name, value in item["metadata"].items() if name != "labels"}
    return {**item, "metadata": metadata}


def sorted_by_name(objects: Iterable[Object]) -> list[Object]:
    return sorted(objects, key=lambda each: str(each["metadata"]["name"]))
