"""Who reaches whom, who scales on what, and what pods may do, read off the rendered manifests."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from deploy.engines import serve
from tests.deploy import dockerfiles, manifests
from tests.deploy.manifests import GPU, ROOT, Manifests, selects
from tests.service.triton_process import environments

from wstar_service.arguments import read_settings

MONITORING = ROOT / "deploy/monitoring"
RECORD = "wstar:queue_seconds_per_request"


@pytest.fixture
def scaled() -> Manifests:
    """Several GPUs."""
    if why := manifests.missing():
        pytest.skip(why)
    return manifests.rendered("gpu-scaled")


@pytest.mark.parametrize("name", GPU)
def test_only_the_service_reaches_triton(name: str) -> None:
    if why := manifests.missing():
        pytest.skip(why)
    overlay = manifests.rendered(name)
    templates = dict(overlay.pods())
    policies = [
        each["spec"]
        for each in overlay.of("NetworkPolicy")
        if selects(each["spec"]["podSelector"], templates["triton"])
    ]
    assert policies and all("Ingress" in policy["policyTypes"] for policy in policies)
    rules = [rule for policy in policies for rule in policy.get("ingress", ())]
    reached = {
        (pod, port["port"])
        for rule in rules
        for peer in rule["from"]
        if "podSelector" in peer
        for pod, template in templates.items()
        if selects(peer["podSelector"], template)
        for port in rule["ports"]
    }
    assert overlay.settings().triton is not None
    assert reached == {("wstar", overlay.settings().triton.port)}  # type: ignore[union-attr]
    # From elsewhere: Prometheus, to the metrics alone.
    for rule in rules:
        for peer in (peer for peer in rule["from"] if "podSelector" not in peer):
            labels = peer["namespaceSelector"]["matchLabels"]
            assert labels == {"kubernetes.io/metadata.name": "monitoring"}
            assert [port["port"] for port in rule["ports"]] == [8002]


def test_the_service_may_ask_what_it_is_told_to_ask(overlay: Manifests) -> None:
    triton = overlay.settings().triton
    egress = overlay.named("NetworkPolicy", "wstar")["spec"]["egress"]
    allowed = {port["port"] for rule in egress for port in rule["ports"]}
    assert allowed == {53} | (set() if triton is None else {triton.port})


@pytest.mark.parametrize("path", ["base", "bulk"])
def test_names_are_asked_of_the_cluster_and_of_the_cache_on_a_node(path: str) -> None:
    text = (ROOT / "deploy/kubernetes" / path / "network-policy.yaml").read_text(encoding="utf-8")
    out = [way for each in yaml.safe_load_all(text) for way in each["spec"].get("egress", ())]
    (dns,) = (way for way in out if any(port["port"] == 53 for port in way["ports"]))
    # The address that NodeLocal DNSCache listens on: no pod's, so no selector finds it.
    assert {"ipBlock": {"cidr": "169.254.20.10/32"}} in dns["to"]


def test_the_class_of_volumes_is_named_as_the_readme_says(tmp_path: Path) -> None:
    if why := manifests.missing():
        pytest.skip(why)
    readme = (ROOT / "deploy/README.md").read_text(encoding="utf-8")
    patches = next(b for b in readme.split("```yaml\n")[1:] if b.startswith("patches:"))
    overlay = os.path.relpath(manifests.KUBERNETES / "overlays/gpu-scaled", tmp_path.resolve())
    (tmp_path / "kustomization.yaml").write_text(
        f"resources: [{overlay}]\n{patches.split('```')[0]}", encoding="utf-8"
    )
    command = ["kubectl", "kustomize", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    claims = [o for o in yaml.safe_load_all(done.stdout) if o["kind"] == "PersistentVolumeClaim"]
    assert claims and all(claim["spec"]["storageClassName"] == "NAME" for claim in claims)


def test_pods_are_restricted(overlay: Manifests) -> None:
    labels = overlay.named("Namespace", "wstar")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    for name, template in overlay.pods():
        pod = template["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        # Else a Service of the same name as a setting would become that setting.
        assert pod["enableServiceLinks"] is False
        for container in (*pod["containers"], *pod.get("initContainers", ())):
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] is True
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert {"cpu", "memory"} <= container["resources"]["limits"].keys()


def test_pods_spread_over_zones_and_machines(overlay: Manifests) -> None:
    for each in overlay.of("Deployment"):
        spread = each["spec"]["template"]["spec"]["topologySpreadConstraints"]
        keys = {constraint["topologyKey"] for constraint in spread}
        assert keys == {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}
        for constraint in spread:
            assert selects(constraint["labelSelector"], each["spec"]["template"])


def test_what_is_scaled_has_no_number_of_its_own(overlay: Manifests) -> None:
    for kind in ("HorizontalPodAutoscaler", "ScaledObject"):
        for each in overlay.of(kind):
            target = overlay.named("Deployment", each["spec"]["scaleTargetRef"]["name"])
            # Every apply would set it back.
            assert "replicas" not in target["spec"]


def test_triton_scales_on_the_recorded_queue(scaled: Manifests) -> None:
    spec = scaled.named("HorizontalPodAutoscaler", "triton")["spec"]
    (metric,) = spec["metrics"]
    assert metric["type"] == "External"
    assert metric["external"]["metric"]["name"] == RECORD.replace(":", "_")
    assert metric["external"]["target"]["type"] == "Value"
    assert RECORD in _recorded()
    (rule,) = yaml.safe_load((MONITORING / "prometheus-adapter.yaml").read_text())["rules"][
        "external"
    ]
    assert RECORD in rule["seriesQuery"]


def test_keda_scales_as_the_autoscaler_does(scaled: Manifests) -> None:
    ours = scaled.named("HorizontalPodAutoscaler", "triton")["spec"]
    overlay = manifests.rendered("gpu-scaled-keda")
    names = {each["metadata"]["name"] for each in overlay.of("HorizontalPodAutoscaler")}
    # Two autoscalers of one Deployment would fight.
    assert names == {"wstar"}
    theirs = overlay.named("ScaledObject", "triton")["spec"]
    (trigger,) = theirs["triggers"]
    assert RECORD in trigger["metadata"]["query"]
    target = ours["metrics"][0]["external"]["target"]["value"]
    assert float(trigger["metadata"]["threshold"]) == int(target.removesuffix("m")) / 1000
    assert (theirs["minReplicaCount"], theirs["maxReplicaCount"]) == (
        ours["minReplicas"],
        ours["maxReplicas"],
    )
    config = theirs["advanced"]["horizontalPodAutoscalerConfig"]
    assert config["behavior"] == ours["behavior"]


def test_budgets_let_a_node_go(overlay: Manifests) -> None:
    for each in overlay.of("PodDisruptionBudget"):
        assert each["spec"]["maxUnavailable"] == 1
    if "triton" in {name for name, _ in overlay.pods()} and not overlay.of(
        "HorizontalPodAutoscaler"
    ):
        # A budget of one replica would hold its node for ever, or mean nothing.
        names = {each["metadata"]["name"] for each in overlay.of("PodDisruptionBudget")}
        assert names == {"wstar"}


@pytest.mark.parametrize("name", ["compose.yaml", "compose.gpu.yaml"])
def test_compose_agrees_with_the_settings(name: str) -> None:
    services = yaml.safe_load((ROOT / "deploy" / name).read_text())["services"]
    service = services["wstar"]
    settings = read_settings([], service["environment"])
    assert settings.metrics is not None
    inside = {int(port.rpartition(":")[2]) for port in service["ports"]}
    assert inside == {settings.listen.port, settings.metrics.port}
    # Without tokens, nobody but this machine.
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert int(service["stop_grace_period"].removesuffix("s")) >= (
        settings.drain_s + settings.grace_s + 5
    )
    if settings.triton is None:
        assert str(settings.repository) in service["volumes"][0].split(":")
    else:
        told = dict(flag.split("=", 1) for flag in serve.flags(Path("x")))
        assert settings.triton.host in services
        assert str(settings.triton.port) == told["--grpc-port"]


def test_the_image_opens_what_it_exposes() -> None:
    stage = dockerfiles.stage("Dockerfile", "service")
    settings = read_settings(["--repository", "/repository"], stage.environment_of_settings())
    assert settings.metrics is not None
    (exposed,) = stage.texts("EXPOSE")
    assert exposed == f"{settings.listen.port} {settings.metrics.port}"
    assert f":{settings.metrics.port}/readyz" in stage.command("HEALTHCHECK")[-1]


@pytest.mark.triton
def test_triton_knows_its_flags() -> None:
    environment = Path(environments()[0].partition("=")[2])
    (server,) = environment.glob("lib/python*/site-packages/pytriton/tritonserver/bin/tritonserver")
    done = subprocess.run([server, "--help"], capture_output=True, text=True)
    told = done.stdout + done.stderr
    for flag in serve.flags(Path("x")):
        assert f"{flag.partition('=')[0]} " in told


def _recorded() -> set[str]:
    groups: list[dict[str, Any]] = yaml.safe_load((MONITORING / "rules.yaml").read_text())["groups"]
    return {rule["record"] for group in groups for rule in group["rules"] if "record" in rule}
