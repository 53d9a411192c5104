"""Who may talk to whom, by the rules of network policies applied to what is rendered."""

from collections.abc import Mapping
from typing import Any

from tests.chart.rendered import Manifest, Pod, find, manifests, pods, rendered

CATALOG = {"gateway", "dispatcher", "launcher", "ingest", "worker-default", "test"}
QUEUE = {"gateway", "dispatcher", "worker-default", "test"}
TELEMETRY = {"dispatcher", "launcher", "worker-default"}
STRANGER: Mapping[str, str] = {"app": "prometheus"}


def selected(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    wanted = selector.get("matchLabels", {})
    choices = {one["key"]: one["values"] for one in selector.get("matchExpressions", [])}
    return wanted.items() <= labels.items() and all(labels.get(key) in values for key, values in choices.items())


def allowed(found: list[Manifest], way: str, pod: Mapping[str, str], peer: Mapping[str, str] | None, port: int) -> bool:
    """`way` is ingress or egress of `pod`; a peer of None is outside of the cluster."""
    policies = [one["spec"] for one in found if one["kind"] == "NetworkPolicy"]
    mine = [one for one in policies if selected(one["podSelector"], pod)]
    rules = [rule for one in mine for rule in one.get(way, [])]
    assert any(way.capitalize() in one.get("policyTypes", []) for one in mine), "nothing is denied by default"
    peers = "from" if way == "ingress" else "to"
    return any(
        port in [each["port"] for each in rule["ports"]]
        and (peers not in rule or any(peer is not None and _is_peer(one, peer) for one in rule[peers]))
        for rule in rules
    )


def _is_peer(one: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    return "podSelector" in one and "namespaceSelector" not in one and selected(one["podSelector"], labels)


def flows(found: list[Manifest], port: int) -> set[tuple[str, str]]:
    """(from, to) between all pods."""
    every = {pod.component: pod for pod in pods(found)}
    return {
        (one, other)
        for one, source in every.items()
        for other, target in every.items()
        if allowed(found, "egress", source.labels, target.labels, port)
        and allowed(found, "ingress", target.labels, source.labels, port)
    }


def by_name(found: list[Manifest]) -> dict[str, Pod]:
    return {pod.component: pod for pod in pods(found)}


def test_pods_reach_what_they_need_and_nothing_else() -> None:
    found = rendered("defaults")
    assert flows(found, 27017) == {(one, "mongodb") for one in CATALOG}
    assert flows(found, 6379) == {(one, "redis") for one in QUEUE}
    assert flows(found, 9000) == {(one, "minio") for one in CATALOG | {"training"}}
    assert flows(found, 8080) == {("test", "gateway")}
    assert flows(found, 9090) == flows(found, 443) == set()


def test_strangers_reach_the_gateway_and_prometheus_the_metrics() -> None:
    found, everything = rendered("defaults"), rendered("everything")
    for port in (8080, 9090, 27017, 6379, 9000):
        open_to_all = {
            name for name, pod in by_name(found).items() if allowed(found, "ingress", pod.labels, None, port)
        }
        assert open_to_all == ({"gateway"} if port == 8080 else set(by_name(found)) if port == 9090 else set())
        named = {
            name
            for name, pod in by_name(everything).items()
            if allowed(everything, "ingress", pod.labels, STRANGER, port)
        }
        assert named == set()
    test, gateway = by_name(everything)["test"], by_name(everything)["gateway"]
    assert allowed(everything, "ingress", gateway.labels, test.labels, 8080)
    policy = find(everything, "NetworkPolicy", "shop-shelver-clients-to-gateway")
    named = [one.get("namespaceSelector", {}).get("matchLabels") for one in policy["spec"]["ingress"][0]["from"]]
    assert named == [{"name": "ingress"}, {"name": "monitoring"}, None]


def test_only_the_launcher_leaves_for_the_api_server() -> None:
    found = rendered("defaults")
    assert {name for name, pod in by_name(found).items() if allowed(found, "egress", pod.labels, None, 6443)} == {
        "launcher"
    }
    assert all(allowed(found, "egress", pod.labels, None, 53) for pod in pods(found))


def test_external_stores_are_left_for_by_their_ports() -> None:
    found = manifests(
        "external.catalog.secret=a",
        "external.queue.secret=a",
        "external.objects.secret=a",
        "external.objects.port=9443",
    )
    for port, who in ((27017, CATALOG), (6379, QUEUE), (9443, CATALOG | {"training"})):
        assert {name for name, pod in by_name(found).items() if allowed(found, "egress", pod.labels, None, port)} == who


def test_it_can_be_left_out() -> None:
    assert not [one for one in manifests("networkPolicy.enabled=false") if one["kind"] == "NetworkPolicy"]
