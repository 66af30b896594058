"""Manifests agree with the code: a setting, port, page or flag that is renamed fails here."""

from __future__ import annotations

import re
import urllib.request
from pathlib import Path, PurePosixPath

import pytest
from deploy.engines import serve
from prometheus_client import CollectorRegistry
from tests.deploy import dockerfiles, manifests
from tests.deploy.manifests import GPU, OVERLAYS, ROOT, Manifests, ports, selects, size

import wstar
from wstar.client import DEFAULT_TIMEOUT_S
from wstar_service import pages
from wstar_service.settings import Address, Settings

PROBES = ("startupProbe", "readinessProbe", "livenessProbe")
# Of a picture that is decoded: see service/README.md.
BYTES_PER_PIXEL = 24
# Measured: in front of a Triton, and with graphs of full size of its own (training/README.md).
RUNTIME_BYTES = {"triton": 512 * 2**20, "embedded": 2790 * 2**20}


@pytest.fixture(params=GPU)
def gpu(request: pytest.FixtureRequest) -> Manifests:
    """Each overlay with a Triton."""
    if why := manifests.missing():
        pytest.skip(why)
    return manifests.rendered(request.param)


def test_variables_are_settings(overlay: Manifests) -> None:
    known = {f"WSTAR_{name.upper()}" for name in Settings.__dataclass_fields__}
    told = overlay.environment()
    assert told.keys() <= known
    assert overlay.settings().tokens is not None
    assert overlay.settings().tls_certificate is not None


def test_an_overlay_has_one_runner(overlay: Manifests) -> None:
    settings = overlay.settings()
    triton = [name for name, _ in overlay.pods() if name == "triton"]
    if settings.triton is None:
        assert not triton
        # The folder that the entry point of the image `repository` fills.
        root = _mounts(overlay, "wstar")["repository"]
        assert settings.repository == Path(root) / "onnx"
        (init,) = overlay.pod("wstar")["initContainers"]
        assert init["volumeMounts"] == [{"name": "repository", "mountPath": root}]
    else:
        assert triton
        spec = overlay.named("Service", settings.triton.host)["spec"]
        assert settings.triton.port in {each["port"] for each in spec["ports"]}


def test_ports_are_those_that_the_service_opens(overlay: Manifests) -> None:
    settings = overlay.settings()
    assert settings.metrics is not None
    container = overlay.container("wstar")
    assert ports(container) == {"grpc": settings.listen.port, "metrics": settings.metrics.port}
    assert settings.listen.host == settings.metrics.host == "0.0.0.0"
    for service in overlay.of("Service"):
        name = service["metadata"]["name"]
        opened = ports(overlay.container(name))
        for each in service["spec"]["ports"]:
            assert opened[each["targetPort"]] == each["port"], name
            assert each["name"] == each["targetPort"]


def test_probes_ask_pages_that_there_are(overlay: Manifests) -> None:
    address, stop = pages.listen(
        Address("127.0.0.1", 0), CollectorRegistry(), lambda: True, lambda: True
    )
    try:
        for probe in PROBES:
            asked = overlay.container("wstar")[probe]["httpGet"]
            assert asked["port"] == "metrics"
            with urllib.request.urlopen(f"http://{address}{asked['path']}", timeout=5) as page:
                assert page.status == 200
    finally:
        stop()


def test_probes_mean_what_they_say(overlay: Manifests) -> None:
    for name, template in overlay.pods():
        for container in template["spec"]["containers"]:
            if "ports" not in container:
                continue
            paths = {probe: container[probe]["httpGet"]["path"] for probe in PROBES}
            # Only a process that stands still is restarted; only one that answers is called.
            assert paths["livenessProbe"].endswith(("/livez", "/live")), name
            assert paths["readinessProbe"].endswith(("/readyz", "/ready")), name


def test_stopping_has_time_for_the_longest_deadline(overlay: Manifests) -> None:
    settings = overlay.settings()
    assert settings.grace_s > DEFAULT_TIMEOUT_S
    needed = _pre_stop_s(overlay, "wstar") + settings.drain_s + settings.grace_s
    # The last replies, spans and the interpreter itself: seconds.
    assert overlay.pod("wstar")["terminationGracePeriodSeconds"] >= needed + 5
    # Not ready is noticed while the service still answers.
    readiness = overlay.container("wstar")["readinessProbe"]
    assert _pre_stop_s(overlay, "wstar") + settings.drain_s > (
        readiness["periodSeconds"] * readiness["failureThreshold"]
    )


def test_triton_has_time_to_finish_what_waits(gpu: Manifests) -> None:
    config = (ROOT / "model_repository/demo/encoder/config.pbtxt").read_text(encoding="utf-8")
    queued = re.search(r"default_timeout_microseconds: (\d+)", config)
    assert queued is not None
    assert int(queued[1]) / 1e6 < serve.EXIT_S
    needed = _pre_stop_s(gpu, "triton") + serve.EXIT_S
    assert gpu.pod("triton")["terminationGracePeriodSeconds"] >= needed + 5


def test_triton_listens_where_the_manifests_say(gpu: Manifests) -> None:
    told = dict(flag.split("=", 1) for flag in serve.flags(Path("/repository/onnx")))
    opened = ports(gpu.container("triton"))
    assert opened == {name: int(told[f"--{name}-port"]) for name in ("http", "grpc", "metrics")}
    assert told["--model-control-mode"] == "none"
    # Where the image's entry point looks for it.
    entry = dockerfiles.stages("Dockerfile.triton")[-1].command("ENTRYPOINT")
    assert entry[-1] == _mounts(gpu, "triton")["repository"]


def test_secrets_and_volumes_are_where_settings_look(overlay: Manifests) -> None:
    settings, mounts = overlay.settings(), _mounts(overlay, "wstar")
    # A Secret made by `kubectl create secret tls` has these two keys.
    assert settings.tls_certificate == Path(mounts["tls"]) / "tls.crt"
    assert settings.tls_key == Path(mounts["tls"]) / "tls.key"
    assert settings.tokens == Path(mounts["tokens"]) / "tokens"
    secrets = {
        each["name"]: each["secret"]["secretName"]
        for each in overlay.pod("wstar")["volumes"]
        if "secret" in each
    }
    assert secrets == {"tls": "wstar-tls", "tokens": "wstar-tokens"}


def test_memory_holds_what_limits_allow(overlay: Manifests) -> None:
    settings, limits = overlay.settings(), overlay.container("wstar")["resources"]["limits"]
    waiting = (settings.max_concurrency + settings.max_queue) * settings.max_message_bytes
    decoding = int(limits["cpu"]) * BYTES_PER_PIXEL * settings.max_image_pixels
    runtime = RUNTIME_BYTES["embedded" if settings.triton is None else "triton"]
    assert waiting + decoding + runtime <= size(limits["memory"])


def test_triton_has_shared_memory(gpu: Manifests) -> None:
    place = _mounts(gpu, "triton")["shared-memory"]
    assert PurePosixPath(place) == PurePosixPath("/dev/shm")
    (volume,) = (v for v in gpu.pod("triton")["volumes"] if v["name"] == "shared-memory")
    assert volume["emptyDir"]["medium"] == "Memory"
    # What it holds counts as memory of the container.
    limit = gpu.container("triton")["resources"]["limits"]["memory"]
    assert size(volume["emptyDir"]["sizeLimit"]) < size(limit) / 2


def test_engines_are_built_on_the_gpu_that_serves_them(gpu: Manifests) -> None:
    serving = gpu.pod("triton")
    inside = [each["name"] for each in serving.get("initContainers", ())]
    if "engines" not in inside:
        # A Job on another node: of the same type, and let onto it.
        building = gpu.pod("engines")
        assert "nvidia.com/gpu.product" in serving["nodeSelector"]
        assert building["nodeSelector"] == serving["nodeSelector"]
        assert building["tolerations"] == serving["tolerations"]
    # The same release of Triton, so the same TensorRT.
    bases = {
        dockerfiles.stages(name)[-1].base for name in ("Dockerfile.triton", "Dockerfile.export")
    }
    assert len(bases) == 1


def test_images_are_of_this_version(overlay: Manifests) -> None:
    for name, template in overlay.pods():
        spec = template["spec"]
        for container in (*spec["containers"], *spec.get("initContainers", ())):
            host, _, tag = container["image"].rpartition(":")
            assert tag == wstar.__version__, name
            assert host.startswith("registry.example.com/wstar/"), name


@pytest.mark.parametrize("name", OVERLAYS)
def test_selectors_select(name: str) -> None:
    if why := manifests.missing():
        pytest.skip(why)
    overlay = manifests.rendered(name)
    templates = dict(overlay.pods())
    for kind in ("PodDisruptionBudget", "NetworkPolicy", "Service", "ServiceMonitor"):
        for each in overlay.of(kind):
            spec = each["spec"]
            selector = spec["podSelector"] if kind == "NetworkPolicy" else spec["selector"]
            if kind == "ServiceMonitor":
                made = {s["metadata"]["name"]: s for s in overlay.of("Service")}
                found = [n for n, s in made.items() if selects(selector, s)]
                # The rules know the job by the name of its Service.
                assert found == [each["metadata"]["name"]]
                named = {port["name"] for port in made[found[0]]["spec"]["ports"]}
                assert {endpoint["port"] for endpoint in spec["endpoints"]} <= named
            else:
                assert any(selects(selector, t) for t in templates.values()), each["metadata"]


def _pre_stop_s(overlay: Manifests, name: str) -> float:
    return float(overlay.container(name)["lifecycle"]["preStop"]["sleep"]["seconds"])


def _mounts(overlay: Manifests, name: str) -> dict[str, str]:
    return {m["name"]: m["mountPath"] for m in overlay.container(name)["volumeMounts"]}


def test_graphs_are_copied_before_engines_are_built_of_them(gpu: Manifests) -> None:
    # Two Jobs at once would build the engines of the release before.
    built = 0
    for name, _ in gpu.pods():
        pod = gpu.pod(name)
        steps = [*pod.get("initContainers", []), *pod["containers"]]
        names = [step["name"] for step in steps]
        if "engines" in names:
            built += 1
            assert names.index("repository") == names.index("engines") - 1
    assert built == 1
