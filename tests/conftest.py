"""What the tests share: the sample images, ComfyUI's source, and one real server for the session."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from tls_host import Certificates, TlsHost, make_certificates

from distillery.driver import paths
from distillery.driver.server import managed
from distillery.driver.server.endpoint import HEADERS_VARIABLE
from distillery.driver.setup.comfyui import ensure_comfyui
from distillery.driver.setup.models import prepare_models

ROOT = Path(__file__).resolve().parent.parent

# No test may depend on how fast the machine is just now.
hypothesis.settings.register_profile(
    "distillery", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("distillery")


def pytest_configure() -> None:
    # Started in the background of a script, this process ignores Ctrl-C, and so would all that the tests start.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


NO_SKIPS = "DISTILLERY_NO_SKIPS"
"""Environment variable: 1 has a test fail that would be skipped, but for the reasons below. CI sets it."""
NOT_OURS = (
    "this CPU has no", "no IPv6 here", "not in this ComfyUI", "a script stands in", "of POSIX", "is Linux's", "only Linux",
    "this file system has no", "not a git checkout", "a tmpfs can only be mounted", "no Python here that every user can run",
)  # fmt: skip
"""Reasons that lie in the machine and that no installation mends."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report: Any = yield
    if report.skipped and os.environ.get(NO_SKIPS) == "1" and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        # A machine to which the sample images were never given; where the folder is, they must be in it.
        elsewhere = "sample images" in reason and not (ROOT.parent / "shared").exists()
        if not elsewhere and not any(words in reason for words in NOT_OURS):
            report.outcome, report.longrepr = "failed", f"It was skipped, which {NO_SKIPS} forbids: {reason}"
    return report


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real Distillery images beside the checkout; not part of the repository."""
    folder = ROOT.parent / "shared"
    if not (folder / "images").is_dir():
        pytest.skip("the sample images are not here")
    return folder


@pytest.fixture(scope="session")
def comfyui_dir() -> Path:
    """ComfyUI's source: the pinned one, or what DISTILLERY_COMFYUI names."""
    given = os.environ.get("DISTILLERY_COMFYUI")
    return Path(given) if given else ensure_comfyui()


@pytest.fixture(scope="session")
def comfy(comfyui_dir: Path) -> Any:
    """ComfyUI's own code in this process, on the CPU."""
    sys.path.append(str(comfyui_dir))  # last: its "tests", "utils" and "nodes" must not hide others
    import comfy.options  # leaves pytest's own arguments alone
    from comfy.cli_args import args

    args.cpu = True
    import comfy.controlnet
    import comfy.model_base
    import comfy.model_management
    import comfy.model_patcher
    import comfy.sample
    import comfy.sd
    import comfy.supported_models
    import comfy.taesd.taesd

    return comfy


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder of the session's own, with what the default job has and nothing of the user's."""
    prepare_models(print)
    folder = tmp_path_factory.mktemp("models")
    for kind, pattern in (("upscale_models", "RealESRGAN_x4plus.*"), ("checkpoints", "distillery-mini.*")):
        (folder / kind).mkdir()
        for file in (paths.models_dir() / kind).glob(pattern):
            try:
                os.link(file, folder / kind / file.name)
            except OSError:  # another disk
                shutil.copy(file, folder / kind / file.name)
    for kind in ("loras", "vae"):
        (folder / kind).mkdir()
    return folder


@pytest.fixture(scope="session")
def server(models: Path) -> Iterator[managed.RunningServer]:
    """A real ComfyUI for the whole session, apart from the user's own."""
    instance = f"test-{os.getpid()}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISTILLERY_MODELS", str(models))
        running = managed.ensure(instance, say=print)
    try:
        with pytest.MonkeyPatch.context() as patch:
            # For those that reach it by another address, through a line that fails.
            patch.setenv(HEADERS_VARIABLE, f"Authorization: Bearer {running.token}")
            yield running
    finally:
        managed.stop(instance)
        shutil.rmtree(paths.servers_dir() / instance, ignore_errors=True)
        (paths.servers_dir() / f"{instance}.lock").unlink(missing_ok=True)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Certificates of a few hosts, and a context that trusts them."""
    return make_certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def tls_host(certificates: Certificates) -> Iterator[Callable[..., TlsHost]]:
    """Starts real TLS servers on loopback that play Discord's."""
    started: list[TlsHost] = []

    def start(*acts: Callable[..., None], name: str | None = None, address: str = "127.0.0.1") -> TlsHost:
        started.append(TlsHost(certificates, acts, name, address))
        return started[-1]

    yield start
    for host in started:
        host.close()
