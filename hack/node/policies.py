"""Enforces NetworkPolicies on the test nodes, whose plain bridge would let everything through.

Policies become one nft table in each node's network, rebuilt after each change of policies, pods
or namespaces. As with real enforcers, traffic of a pod to its own node is not checked, and neither
are answers on allowed connections.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import subprocess
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cluster.errors import ClusterError

from node.commands import TIMEOUT_S, path_of
from node.real_cluster import RealCluster
from node.selectors import matches

Object = Mapping[str, Any]

TABLE = "inet fulcrum-policies"
NO_RULES = f"table {TABLE} {{}}\ndelete table {TABLE}\n"
POLL_S = 1.0
NAMESPACE_NAME = "kubernetes.io/metadata.name"
ENDED = ("Succeeded", "Failed")


@dataclass(frozen=True)
class Pod:
    """The properties of a pod that policies use."""

    namespace: str
    labels: Mapping[str, str]
    address: str
    ports: Mapping[str, int]  # by name


@dataclass(frozen=True)
class World:
    """All that the rules come from: policies, pods, and the labels of namespaces."""

    policies: Sequence[Object]
    pods: Sequence[Pod]
    namespaces: Mapping[str, Mapping[str, str]]


def world_of(objects: Iterable[Object]) -> World:
    """Return what the API server's `objects` come to."""
    policies, pods, namespaces = [], [], {}
    for item in objects:
        match item["kind"]:
            case "NetworkPolicy":
                policies.append(item)
            case "Pod":
                pods.extend(_pod(item))
            case "Namespace":
                namespaces[item["metadata"]["name"]] = item["metadata"].get("labels", {})
    pods.sort(key=lambda pod: pod.address)
    return World(policies, pods, namespaces)


def ruleset(world: World) -> str:
    """Return the nft commands that replace the table by one that enforces all policies."""
    chains = {}
    jumps: dict[str, list[str]] = {"saddr": [], "daddr": []}
    for pod in world.pods:
        for direction, end in (("Egress", "saddr"), ("Ingress", "daddr")):
            policies = [p for p in world.policies if _selects(p, pod, direction)]
            if policies:
                name = f"{direction.lower()}-{pod.address.replace('.', '-')}"
                chains[name] = [*_allowed(policies, pod, direction, world), "drop"]
                jumps[end].append(f"{pod.address} : jump {name}")
    forward = ["type filter hook forward priority -10; policy accept;"]
    forward += ["ct state established,related accept"]
    forward += [f"ip {end} vmap {{ {', '.join(to)} }}" for end, to in jumps.items() if to]
    body = [_chain(name, lines) for name, lines in chains.items()] + [_chain("forward", forward)]
    return "\n".join([f"{NO_RULES}table {TABLE} {{", *body, "}", ""])


def _chain(name: str, lines: Sequence[str]) -> str:
    return "\n".join([f"  chain {name} {{", *(f"    {line}" for line in lines), "  }"])


def _pod(item: Object) -> Iterator[Pod]:
    status, spec = item.get("status", {}), item["spec"]
    if spec.get("hostNetwork") or status.get("phase") in ENDED or not status.get("podIP"):
        return
    ports = {
        port["name"]: port["containerPort"]
        for container in spec["containers"]
        for port in container.get("ports", ())
        if "name" in port
    }
    metadata = item["metadata"]
    yield Pod(metadata["namespace"], metadata.get("labels", {}), status["podIP"], ports)


def _selects(policy: Object, pod: Pod, direction: str) -> bool:
    spec = policy["spec"]
    kinds = spec.get("policyTypes") or ["Ingress", *(["Egress"] if "egress" in spec else [])]
    same = policy["metadata"]["namespace"] == pod.namespace
    return direction in kinds and same and matches(spec.get("podSelector", {}), pod.labels)


def _allowed(policies: Sequence[Object], pod: Pod, direction: str, world: World) -> Iterator[str]:
    """Yield a rule for each peer and protocol that any of `policies` allows."""
    end, peers = ("daddr", "to") if direction == "Egress" else ("saddr", "from")
    for policy in policies:
        for rule in policy["spec"].get(direction.lower()) or ():
            sets = [
                f"ip {end} {who}"
                for peer in rule.get(peers) or ({"ipBlock": {"cidr": "0.0.0.0/0"}},)
                for who in _addresses(peer, policy["metadata"]["namespace"], end, world)
            ]
            ports = list(_ports(rule.get("ports") or (), pod, direction))
            yield from (f"{who} {port} return".replace("  ", " ") for who in sets for port in ports)


def _addresses(peer: Object, namespace: str, end: str, world: World) -> Iterator[str]:
    """Yield the addresses that `peer` selects, in nft's form."""
    if (block := peer.get("ipBlock")) is not None:
        network = ipaddress.ip_network(block["cidr"])
        if network.version == 4:
            beside = ", ".join(block.get("except") or ())
            yield f"{network}{f' ip {end} != {{ {beside} }}' if beside else ''}"
        return
    found = [
        pod.address
        for pod in world.pods
        if matches(peer.get("podSelector") or {}, pod.labels)
        and (
            matches(peer["namespaceSelector"], _labels(pod.namespace, world))
            if "namespaceSelector" in peer
            else pod.namespace == namespace
        )
    ]
    if found:
        yield f"{{ {', '.join(found)} }}"


def _labels(namespace: str, world: World) -> Mapping[str, str]:
    return {NAMESPACE_NAME: namespace, **world.namespaces.get(namespace, {})}


def _ports(ports: Sequence[Object], pod: Pod, direction: str) -> Iterator[str]:
    if not ports:
        yield ""
    for port in ports:
        protocol, number = port.get("protocol", "TCP").lower(), port.get("port")
        if isinstance(number, str):
            if direction == "Egress":
                message = (
                    f"port '{number}' to others by its name is not enforced here; give a number"
                )
                raise ClusterError(message)
            if number not in pod.ports:
                continue
            number = pod.ports[number]
        if number is None:
            yield f"meta l4proto {protocol}"
        else:
            last = f"-{port['endPort']}" if "endPort" in port else ""
            yield f"{protocol} dport {number}{last}"


class Enforcer:
    """Keeps the rules on all nodes of `cluster` as the policies are, until `stop`."""

    def __init__(self, cluster: RealCluster) -> None:
        self._cluster = cluster
        self._applied: dict[str, tuple[int, str]] = {}
        self._failure: Exception | None = None
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="policies", daemon=True)

    def start(self) -> None:
        """Enforce what there is now, then follow."""
        self.refresh()
        self._thread.start()

    def stop(self) -> None:
        """Let everything through again.

        Raises:
            ClusterError: Policies were not enforced all the time.
        """
        self._ending.set()
        self._thread.join()
        for name in self._applied:
            with contextlib.suppress(ClusterError):  # with the node, its rules are gone too
                apply(NO_RULES, self._cluster.nodes[name].first_process)
        if self._failure is not None:
            message = f"policies were not enforced to the end: {self._failure}"
            raise ClusterError(message) from self._failure

    def refresh(self) -> None:
        """Update the rules, also on nodes that were restarted."""
        kinds = "networkpolicies.networking.k8s.io,pods,namespaces"
        listed = self._cluster.kubectl("get", kinds, "--all-namespaces", "--output=json")
        rules = ruleset(world_of(json.loads(listed)["items"]))
        for name, node in self._cluster.nodes.items():
            wanted = node.first_process, rules
            if self._applied.get(name) != wanted:
                apply(rules, node.first_process)
                self._applied[name] = wanted

    def _follow(self) -> None:
        while not self._ending.wait(POLL_S):
            try:
                self.refresh()
                self._failure = None
            except ClusterError as error:  # the API server may be away for a while
                self._failure = error


@contextlib.contextmanager
def enforced(cluster: RealCluster) -> Iterator[Enforcer]:
    """Enforce NetworkPolicies in `cluster`."""
    enforcer = Enforcer(cluster)
    enforcer.start()
    try:
        yield enforcer
    finally:
        enforcer.stop()


def apply(rules: str, first_process: int) -> None:
    """Give `rules` to nft in the network of the process `first_process`.

    Raises:
        ClusterError: nft refuses them; none of them are in effect then.
    """
    inside = [path_of("nsenter"), f"--target={first_process}", "--net", path_of("nft"), "-f", "-"]
    done = subprocess.run(
        inside, input=rules, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    if done.returncode:
        message = f"nft: {done.stderr.strip()}\n{rules}"
        raise ClusterError(message)
