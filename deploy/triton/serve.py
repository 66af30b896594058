"""Starts Triton on this machine's CPUs with a repository, and proves it before it says ready.

Needs nothing but Python's own library. tritonserver comes from the wheel nvidia-pytriton in one
environment; numpy below 2 and onnxruntime for its backend processes from another.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import types
from contextlib import suppress
from pathlib import Path

import smoke

HERE = Path(__file__).resolve().parent
CPUS = HERE.parents[1] / "service/wstar_service/cpus.py"
HOST = "127.0.0.1"
SHARED_MEMORY = Path("/dev/shm")
GLIBC = (2, 35)
READY_S = 120.0
EXIT_S = 10


class CannotStart(Exception):
    """A reason why there is no Triton, in a sentence for whoever started it."""


def main() -> int:
    """Serve until SIGTERM or SIGINT; 0 after a graceful stop, 1 with a message otherwise."""
    arguments = _arguments()
    try:
        with tempfile.TemporaryDirectory(prefix="wstar-triton-") as folder:
            return _serve(arguments, Path(folder))
    except CannotStart as error:
        print(f"cannot start Triton: {error}", file=sys.stderr)
        return 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repository", type=Path, required=True, metavar="DIR")
    parser.add_argument("--server-environment", type=Path, required=True, metavar="DIR")
    parser.add_argument("--model-environment", type=Path, required=True, metavar="DIR")
    for name, port in (("grpc", 8001), ("http", 8000), ("metrics", 8002)):
        parser.add_argument(
            f"--{name}-port",
            type=int,
            default=port,
            metavar="PORT",
            help="0 is any free port (default: %(default)s)",
        )
    return parser.parse_args()


def _serve(arguments: argparse.Namespace, folder: Path) -> int:
    if not arguments.repository.is_dir():
        raise CannotStart(f"there is no repository {arguments.repository}")
    home = tritonserver_home(arguments.server_environment)
    version, libraries = model_python(arguments.model_environment)
    backends(folder, home, version)
    ports = _ports(arguments)
    # Its own prefix, so that what a killed server leaves in shared memory can be told apart.
    prefix = f"{folder.name}-"
    path = f"{arguments.model_environment.resolve() / 'bin'}:/usr/bin:/bin"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    process = subprocess.Popen(
        [str(home / "bin/tritonserver"), *flags(arguments.repository, folder, ports, prefix)],
        env={**environment, "PATH": path, "LD_LIBRARY_PATH": libraries},
        stdout=sys.stderr,
        # A Ctrl-C is for this process, which tells Triton once.
        start_new_session=True,
    )
    stopped = False

    def stop(number: int, frame: types.FrameType | None) -> None:
        nonlocal stopped
        process.send_signal(signal.SIGKILL if stopped else signal.SIGTERM)
        stopped = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    try:
        _wait_ready(process, f"{HOST}:{ports['http']}")
        for model in smoke.prove(f"{HOST}:{ports['http']}"):
            print(f"answers: {model}", flush=True)
        addresses = ", ".join(f"{name} {HOST}:{port}" for name, port in ports.items())
        print(f"ready: {addresses}, process {process.pid}", flush=True)
        process.wait()
    except smoke.NotProved as error:
        if not stopped:
            raise CannotStart(str(error)) from error
    finally:
        if process.poll() is None:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(2 * EXIT_S)
        # Its backend processes too: some outlive a server that was killed.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for left in SHARED_MEMORY.glob(f"{prefix}*"):
            left.unlink(missing_ok=True)
    if stopped:
        return 0
    raise CannotStart(f"tritonserver ended with exit code {process.returncode}; see its log")


def tritonserver_home(environment: Path) -> Path:
    """Find tritonserver in an environment, and refuse a machine that cannot run it."""
    libc, version = platform.libc_ver()
    if libc != "glibc" or tuple(map(int, version.split(".")[:2])) < GLIBC:
        needed = ".".join(map(str, GLIBC))
        raise CannotStart(f"its build needs glibc {needed} or newer, found: {libc} {version}")
    for home in environment.resolve().glob("lib/python*/site-packages/pytriton/tritonserver"):
        return home
    raise CannotStart(f"there is no nvidia-pytriton in {environment}; `make triton` installs it")


def model_python(environment: Path) -> tuple[str, str]:
    """Ask an environment for its Python version, as 3.11, and the folder of its libpython."""
    code = (
        "import sys, sysconfig, numpy, onnxruntime\n"
        "print(numpy.__version__.split('.')[0], '%d.%d' % sys.version_info[:2],"
        " sysconfig.get_config_var('LIBDIR'))"
    )
    python = environment / "bin/python"
    try:
        found = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise CannotStart(
            f"there are no numpy and onnxruntime in {environment}; `make triton` installs them"
        ) from error
    numpy, version, libraries = found.stdout.split(maxsplit=2)
    # With numpy 2 this server reports ready and answers every call with empty tensors.
    if int(numpy) >= 2:
        raise CannotStart(f"numpy in {environment} must be below 2, found: {numpy}")
    return version, libraries.strip()


def backends(folder: Path, home: Path, version: str) -> None:
    """Assemble the folder of backends that Triton looks into; the wheel stays as it is."""
    stub = home / "python_backend_stubs" / version / "triton_python_backend_stub"
    if not stub.is_file():
        built = sorted(path.name for path in stub.parents[1].iterdir())
        raise CannotStart(f"it runs models with Python {', '.join(built)}, found: {version}")
    for name in ("libtriton_python.so", "triton_python_backend_utils.py"):
        # A copy: Triton refuses a library whose real path is in another folder.
        _copy(home / "backends/python" / name, folder / "python")
    # A link: its own libraries lie relative to its real path.
    (folder / "python" / stub.name).symlink_to(stub)
    for source in (HERE / "backends/wstar_onnx/model.py", CPUS):
        _copy(source, folder / "wstar_onnx")


def flags(repository: Path, folder: Path, ports: dict[str, int], prefix: str) -> list[str]:
    """The command line of tritonserver: everything on this machine only."""
    return [
        f"--model-repository={repository.resolve()}",
        "--model-config-name=cpu",
        "--disable-auto-complete-config",
        f"--backend-directory={folder}",
        # The library behind wstar_onnx is the backend python's, and so are its settings.
        f"--backend-config=python,shm-region-prefix-name={prefix}",
        # All models, and a way to load a new version without a restart.
        "--model-control-mode=explicit",
        "--load-model=*",
        *(f"--{name}-address={HOST}" for name in ports),
        *(f"--{name}-port={port}" for name, port in ports.items()),
        f"--exit-timeout-secs={EXIT_S}",
        "--log-format=ISO8601",
    ]


def _copy(source: Path, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    shutil.copyfile(source, folder / source.name)


def _ports(arguments: argparse.Namespace) -> dict[str, int]:
    """The ports by name; those asked as 0 are free at this moment."""
    wanted = {name: getattr(arguments, f"{name}_port") for name in ("grpc", "http", "metrics")}
    ports = {}
    # All held open at once, or two of them could be the same.
    held = [socket.socket() for _ in wanted]
    for (name, port), probe in zip(wanted.items(), held, strict=True):
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise CannotStart(f"port {port} for {name} on {HOST} is in use") from error
        ports[name] = probe.getsockname()[1]
    for probe in held:
        probe.close()
    return ports


def _wait_ready(process: subprocess.Popen[bytes], http: str) -> None:
    ends = time.monotonic() + READY_S
    while not smoke.is_ready(http):
        if process.poll() is not None:
            raise smoke.NotProved(f"tritonserver ended with exit code {process.returncode}")
        if time.monotonic() > ends:
            raise smoke.NotProved(f"it was not ready within {READY_S:g} s")
        time.sleep(0.1)


if __name__ == "__main__":
    sys.exit(main())
