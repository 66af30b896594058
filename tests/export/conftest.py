"""A run folder of random weights, and the repository exported from it, once per session."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from wstar.attributes import ATTRIBUTES
from wstar.graphs import Space
from wstar.space import QUANTILES
from wstar_export.assembly import Graph, assemble
from wstar_export.repository import write_repository
from wstar_export.run import Run, read_run
from wstar_export.verify import Finding
from wstar_training import checkpoint
from wstar_training.demo.pictures import to_float
from wstar_training.demo.population import sample
from wstar_training.demo.renderer import render
from wstar_training.models.encoder import DemoEncoder
from wstar_training.models.flow import Coupling, Flow, flow_checkpoint, half_masks
from wstar_training.models.stylegan2 import Generator

CHANNELS = {4: 32, 8: 32, 16: 24, 32: 16, 64: 16}
FEATURES = 128
FACES = 70
# No direction of the space tells this attribute: its hyperplane is 0.
FLAT_ATTRIBUTE = 7


@torch.no_grad()
def write_run(folder: Path) -> None:
    """Write every file that export reads, with codes of mean code and spread like real ones."""
    torch.manual_seed(1)
    pictures = render(sample(5, FACES))
    (folder / "pictures").mkdir(parents=True)
    (folder / "pictures" / "test.bytes").write_bytes(pictures.tobytes())
    encoder = DemoEncoder(64, FEATURES).eval()
    faces = to_float(torch.from_numpy(pictures))
    w = encoder(faces)
    encoder.to_w.weight /= (w - w.mean(0)).std()
    encoder.to_w.bias.normal_(std=2.0)
    w = encoder(faces)
    generator = Generator(64, CHANNELS, noise_per_channel=True).eval()
    for layer in (generator.conv1, *generator.convs):
        nn.init.constant_(layer.noise.weight, 0.1)
    state = {f"encoder.{key}": value for key, value in encoder.state_dict().items()}
    state |= {f"generator.{key}": value for key, value in generator.state_dict().items()}
    checkpoint.save(folder / "autoencoder.pt", {"ema": state})
    basis = torch.linalg.qr(encoder.to_w.weight).Q.T.contiguous()
    for name, couplings, seed in (("flow.pt", 3, 1), ("flow_id.pt", 2, 2)):
        flow = random_flow(w.mean(0), float((w - w.mean(0)).std()), basis, couplings, seed)
        checkpoint.save(folder / name, flow_checkpoint(flow))
    checkpoint.save(folder / "codes.pt", {"w": {"test": w}})
    for space in Space:
        checkpoint.save(folder / f"space_{space.value}.pt", random_read_out(w, basis))


def random_flow(mean: Tensor, std: float, basis: Tensor, couplings: int, seed: int) -> Flow:
    """A T as well conditioned as trained ones: s around 0.1."""
    made = [Coupling(mask, hidden=32) for mask in half_masks(len(basis), couplings, seed)]
    for coupling in made:
        for layers in (coupling.s, coupling.t):
            for weight in layers[4].parameters():
                nn.init.normal_(weight, std=0.1)
    return Flow(made, mean, std, basis)


def random_read_out(w: Tensor, basis: Tensor) -> dict[str, object]:
    """Hyperplanes through the mean code, inside the basis, with logits of standard deviation 2."""
    weight = torch.randn(len(ATTRIBUTES), len(basis)) @ basis
    weight *= 2.0 / ((w - w.mean(0)).flatten(1) @ weight.T).std(0)[:, None]
    weight[FLAT_ATTRIBUTE] = 0.0
    return {
        "weight": weight,
        "bias": -(weight @ w.mean(0).flatten()),
        "quantiles": torch.linspace(0.0, 2.0, QUANTILES, dtype=torch.float64),
        "perceptual_scale": 10.0,
        "evaluation": {"two_alternative": 0.5},
        "labels": {"world": 'random weights, "quoted" \\ and\nbroken'},
    }


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("export") / "run"
    write_run(folder)
    return folder


@pytest.fixture(scope="session")
def run(run_folder: Path) -> Run:
    return read_run(run_folder)


@pytest.fixture(scope="session")
def exported(run: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Finding]]:
    output = tmp_path_factory.mktemp("exported") / "repository"
    findings = write_repository(run, output, print)
    return output, findings


@pytest.fixture(scope="session")
def repository(exported: tuple[Path, list[Finding]]) -> Path:
    """The repository; read only, tests that change it take a copy."""
    return exported[0]


@pytest.fixture(scope="session")
def made(run: Run) -> list[Graph]:
    return assemble(run)
