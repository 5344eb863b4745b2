"""The enforcer of NetworkPolicies for test nodes: what it lets through, tried with real packets."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest
from cluster.errors import ClusterError
from node.commands import run
from node.policies import NO_RULES, POLL_S, Enforcer, Pod, World, apply, ruleset, world_of
from node.selectors import matches

JOB = {"app.kubernetes.io/managed-by": "fulcrum", "fulcrum.dev/job": "digits"}
STORE, API, METADATA = "10.1.0.2", "10.1.0.3", "169.254.169.254"
EVIL, NEIGHBOUR = "10.0.0.2", "10.0.0.3"
NAMESPACES = {"team-a": {"team": "a"}, "team-b": {"team": "b"}, "store": {}}
PODS = (
    Pod("team-a", JOB, EVIL, {}),
    Pod("team-b", {"app": "web"}, NEIGHBOUR, {"metrics": 8080}),
)


def policy(spec: Mapping[str, Any], namespace: str = "team-a") -> dict[str, Any]:
    return {
        "kind": "NetworkPolicy",
        "metadata": {"name": "p", "namespace": namespace},
        "spec": dict(spec),
    }


SELECTED = {"podSelector": {"matchLabels": JOB}, "policyTypes": ["Ingress", "Egress"]}


def egress(*rules: Mapping[str, Any]) -> dict[str, Any]:
    """Return the policy of pods of jobs with these rules."""
    return policy({**SELECTED, "egress": list(rules)})


@dataclass(frozen=True)
class Translation:
    """Policies, and lines that the rules must or must not have."""

    name: str
    policies: tuple[dict[str, Any], ...]
    lines: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    pods: tuple[Pod, ...] = PODS


OUT, IN = "egress-10-0-0-2", "ingress-10-0-0-2"
TRANSLATIONS = (
    Translation("no policy lets everything through", (), absent=("drop", "vmap")),
    Translation(
        "nothing listed is nothing allowed",
        (egress(),),
        (f"ip saddr vmap {{ {EVIL} : jump {OUT} }}", f"ip daddr vmap {{ {EVIL} : jump {IN} }}"),
        absent=("return",),
    ),
    Translation(
        "blocks with what is excepted, and ports",
        (
            egress(
                {
                    "to": [{"ipBlock": {"cidr": "10.1.0.0/16", "except": [f"{API}/32"]}}],
                    "ports": [{"port": 443}, {"port": 53, "protocol": "UDP"}],
                }
            ),
        ),
        (
            f"ip daddr 10.1.0.0/16 ip daddr != {{ {API}/32 }} tcp dport 443 return",
            f"ip daddr 10.1.0.0/16 ip daddr != {{ {API}/32 }} udp dport 53 return",
        ),
    ),
    Translation(
        "pods of the same namespace only, without a selector of namespaces",
        (egress({"to": [{"podSelector": {}}]}),),
        (f"ip daddr {{ {EVIL} }} return",),
        absent=(NEIGHBOUR,),
    ),
    Translation(
        "namespaces by label",
        (egress({"to": [{"namespaceSelector": {"matchLabels": {"team": "b"}}}]}),),
        (f"ip daddr {{ {NEIGHBOUR} }} return",),
    ),
    Translation(
        "namespaces by name, which every namespace has as a label",
        (
            egress(
                {
                    "to": [
                        {
                            "namespaceSelector": {
                                "matchLabels": {"kubernetes.io/metadata.name": "team-b"}
                            },
                            "podSelector": {"matchLabels": {"app": "web"}},
                        }
                    ]
                }
            ),
        ),
        (f"ip daddr {{ {NEIGHBOUR} }} return",),
    ),
    Translation(
        "a peer that matches no pod allows nothing",
        (egress({"to": [{"podSelector": {"matchLabels": {"app": "gone"}}}]}),),
        absent=("return",),
    ),
    Translation("a rule for all", (egress({}),), ("ip daddr 0.0.0.0/0 return",)),
    Translation(
        "a range of ports",
        (egress({"ports": [{"port": 8000, "endPort": 8010}]}),),
        ("ip daddr 0.0.0.0/0 tcp dport 8000-8010 return",),
    ),
    Translation(
        "a protocol without a port",
        (egress({"ports": [{"protocol": "UDP"}]}),),
        ("ip daddr 0.0.0.0/0 meta l4proto udp return",),
    ),
    Translation(
        "other address families are another enforcer's",
        (egress({"to": [{"ipBlock": {"cidr": "::/0"}}]}),),
        absent=("return", "::"),
    ),
    Translation(
        "two policies allow what either does",
        (egress({"ports": [{"port": 1}]}), egress({"ports": [{"port": 2}]})),
        ("ip daddr 0.0.0.0/0 tcp dport 1 return", "ip daddr 0.0.0.0/0 tcp dport 2 return"),
    ),
    Translation(
        "without types it is ingress alone",
        (policy({"podSelector": {}}),),
        (f"ip daddr vmap {{ {EVIL} : jump {IN} }}",),
        absent=("saddr vmap",),
    ),
    Translation(
        "a pod's own port by its name",
        (policy({"podSelector": {}, "ingress": [{"ports": [{"port": "metrics"}]}]}, "team-b"),),
        ("ip saddr 0.0.0.0/0 tcp dport 8080 return",),
    ),
    Translation(
        "policies of other namespaces are others'",
        (policy({**SELECTED, "egress": []}, "team-b"),),
        absent=("drop",),
    ),
)


@pytest.mark.parametrize("case", TRANSLATIONS, ids=lambda case: case.name)
def test_rules_of_policies(case: Translation) -> None:
    lines = ruleset(World(case.policies, case.pods, NAMESPACES)).splitlines()
    stripped = [line.strip() for line in lines]
    assert [line for line in case.lines if line not in stripped] == []
    assert [word for word in case.absent if any(word in line for line in stripped)] == []


def test_a_port_of_others_by_its_name_is_refused() -> None:
    with pytest.raises(ClusterError, match="give a number"):
        ruleset(World([egress({"ports": [{"port": "https"}]})], PODS, NAMESPACES))


def test_pods_without_a_separate_address_are_left_out() -> None:
    def pod(name: str, spec: dict[str, Any], status: dict[str, Any]) -> dict[str, Any]:
        metadata = {"name": name, "namespace": "team-a"}
        return {
            "kind": "Pod",
            "metadata": metadata,
            "spec": {"containers": [], **spec},
            "status": status,
        }

    objects = (
        {"kind": "Namespace", "metadata": {"name": "team-a"}},
        pod("waits", {}, {"phase": "Pending"}),
        pod("has ended", {}, {"phase": "Failed", "podIP": "10.0.0.9"}),
        pod("of the node", {"hostNetwork": True}, {"phase": "Running", "podIP": "10.0.0.1"}),
        pod("runs", {}, {"phase": "Running", "podIP": "10.0.0.4"}),
    )
    assert [found.address for found in world_of(objects).pods] == ["10.0.0.4"]


SELECTORS = (
    ({}, True),
    ({"matchLabels": {"a": "1"}}, True),
    ({"matchLabels": {"a": "2"}}, False),
    ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1", "2"]}]}, True),
    ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}, False),
    ({"matchExpressions": [{"key": "b", "operator": "Exists"}]}, False),
    ({"matchExpressions": [{"key": "b", "operator": "DoesNotExist"}]}, True),
    (
        {
            "matchLabels": {"a": "1"},
            "matchExpressions": [{"key": "a", "operator": "DoesNotExist"}],
        },
        False,
    ),
)


@pytest.mark.parametrize(("selector", "expected"), SELECTORS, ids=str)
def test_selectors(selector: dict[str, Any], expected: bool) -> None:
    assert matches(selector, {"a": "1"}) is expected


def test_an_operator_that_selectors_do_not_have_is_refused() -> None:
    with pytest.raises(ClusterError, match="Like"):
        matches({"matchExpressions": [{"key": "a", "operator": "Like"}]}, {})


# --- with packets

LISTEN = """
import socket, sys, time
listeners = [socket.create_server(("0.0.0.0", int(port))) for port in sys.argv[1:]]
print("ready", flush=True)
time.sleep(600)
"""
CONNECT = """
import socket, sys
socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=0.7).close()
"""
needs_networks = pytest.mark.skipif(
    os.geteuid() != 0 or not all(map(shutil.which, ("unshare", "nsenter", "nft", "ip"))),
    reason="only root makes networks, with unshare, nsenter, nft and ip",
)


@dataclass(frozen=True)
class Network:
    """A node with two pods on its bridge, and a cable to the world; by their first processes."""

    node: int
    evil: int
    neighbour: int
    world: int

    def reaches(self, address: str, port: int, source: int | None = None) -> bool:
        """Return whether a connection from the evil pod, or from `source`, succeeds."""
        inside = ["nsenter", f"--target={source or self.evil}", "--net"]
        command = [*inside, sys.executable, "-c", CONNECT, address, str(port)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.fixture
def network() -> Iterator[Network]:
    with ExitStack() as stack:

        def begin(*ports: int) -> int:
            command = ["unshare", "--net", sys.executable, "-c", LISTEN, *map(str, ports)]
            process = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE))
            stack.callback(process.kill)
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            return process.pid

        made = Network(begin(), begin(80), begin(80, 8080), begin(80, 443, 6443))
        lay(made)
        yield made


def lay(network: Network) -> None:
    """Lay the cables as the nodes' plug-in and harness do."""

    def inside(pid: int, *words: str) -> None:
        run(["nsenter", f"--target={pid}", "--net", *words])

    node = network.node
    inside(node, "sysctl", "-qw", "net.ipv4.ip_forward=1")
    inside(node, "ip", "link", "add", "pods", "type", "bridge")
    inside(node, "ip", "address", "add", "10.0.0.1/24", "dev", "pods")
    inside(node, "ip", "link", "set", "pods", "up")
    ends = {network.evil: [EVIL], network.neighbour: [NEIGHBOUR]}
    for number, (pid, addresses) in enumerate(ends.items()):
        cable = ["link", "add", f"pod{number}", "type", "veth", "peer", "name", "eth0"]
        inside(node, "ip", *cable, "netns", str(pid))
        inside(node, "ip", "link", "set", f"pod{number}", "master", "pods", "up")
        connect(inside, pid, addresses, "10.0.0.1")
    inside(node, "ip", "link", "add", "out", "type", "veth", "peer", "name", "eth0", "netns",
           str(network.world))  # fmt: skip
    inside(node, "ip", "address", "add", "10.1.0.1/24", "dev", "out")
    inside(node, "ip", "link", "set", "out", "up")
    inside(node, "ip", "route", "add", f"{METADATA}/32", "via", STORE)
    connect(inside, network.world, [STORE, API, METADATA], "10.1.0.1")


def connect(inside: Callable[..., None], pid: int, addresses: list[str], gateway: str) -> None:
    for address in addresses:
        inside(pid, "ip", "address", "add", f"{address}/24", "dev", "eth0")
    inside(pid, "ip", "link", "set", "eth0", "up")
    inside(pid, "ip", "route", "replace", "default", "via", gateway)


TO_THE_STORE = egress(
    {
        "to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": [f"{METADATA}/32", f"{API}/32"]}}],
        "ports": [{"port": 443, "protocol": "TCP"}],
    }
)


@needs_networks
def test_packets_go_where_policies_allow(network: Network) -> None:
    def reached() -> set[str]:
        ways = {
            "store": (STORE, 443),
            "store's other port": (STORE, 80),
            "API server": (API, 443),
            "metadata": (METADATA, 80),
            "neighbour": (NEIGHBOUR, 80),
        }
        found = {name for name, to in ways.items() if network.reaches(*to)}
        if network.reaches(EVIL, 80, network.neighbour):
            found.add("from the neighbour")
        return found

    everything = {
        *("store", "store's other port", "API server", "metadata", "neighbour"),
        "from the neighbour",
    }
    assert reached() == everything
    apply(ruleset(World([TO_THE_STORE], PODS, NAMESPACES)), network.node)
    assert reached() == {"store"}
    metrics = policy({"podSelector": {}, "ingress": [{"ports": [{"port": "metrics"}]}]}, "team-b")
    apply(ruleset(World([metrics], PODS, NAMESPACES)), network.node)
    assert network.reaches(NEIGHBOUR, 8080)
    assert not network.reaches(NEIGHBOUR, 80)
    apply(NO_RULES, network.node)
    assert reached() == everything


@dataclass
class Node:
    first_process: int


@dataclass
class OneNodeCluster:
    """The parts of a cluster that the enforcer needs: its objects, and a node."""

    nodes: dict[str, Node]
    objects: list[dict[str, Any]] = field(default_factory=list)
    away: bool = False

    def kubectl(self, *words: str) -> str:

        if self.away:
            raise ClusterError("the API server does not answer")
        return json.dumps({"items": self.objects})


def until(holds: Callable[[], bool]) -> None:
    for _ in range(50):
        if holds():
            return
        time.sleep(POLL_S / 5)
    pytest.fail("it did not come to hold")


POD_OBJECT = {
    "kind": "Pod",
    "metadata": {"name": "evil", "namespace": "team-a", "labels": JOB},
    "spec": {"containers": []},
    "status": {"phase": "Running", "podIP": EVIL},
}


@needs_networks
def test_rules_follow_what_changes_and_are_gone_after_the_end(network: Network) -> None:
    cluster = OneNodeCluster({"plain": Node(network.node)}, [POD_OBJECT])
    enforcer = Enforcer(cluster)  # type: ignore[arg-type]  # as much of a cluster as it needs
    enforcer.start()
    assert network.reaches(STORE, 80)
    cluster.objects = [POD_OBJECT, TO_THE_STORE]
    until(lambda: not network.reaches(STORE, 80))
    cluster.away = True
    time.sleep(2 * POLL_S)
    assert not network.reaches(STORE, 80)
    cluster.away = False
    cluster.objects = [POD_OBJECT]
    until(lambda: network.reaches(STORE, 80))
    cluster.objects = [POD_OBJECT, TO_THE_STORE]
    until(lambda: not network.reaches(STORE, 80))
    enforcer.stop()
    assert network.reaches(STORE, 80)


@needs_networks
def test_failure_to_update_rules_is_reported_at_the_end(network: Network) -> None:
    cluster = OneNodeCluster({"plain": Node(network.node)})
    enforcer = Enforcer(cluster)  # type: ignore[arg-type]  # as much of a cluster as it needs
    enforcer.start()
    cluster.away = True
    time.sleep(2 * POLL_S)
    with pytest.raises(ClusterError, match="not enforced to the end"):
        enforcer.stop()


@needs_networks
def test_rules_that_nft_does_not_know_are_an_error(network: Network) -> None:
    with pytest.raises(ClusterError, match="nft"):
        apply("table inet broken { chain", network.node)
