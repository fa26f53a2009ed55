"""An Upscaler in a forked process: refused in words, and the parent's connections stay whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from distillery.driver import ServerError, Upscaler

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")

CAT = Path(__file__).resolve().parents[2] / "examples" / "cat.png"


def in_a_fork(work) -> str:
    """Run it in a forked child; returns what it says."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(write, str(work()).encode())
        except BaseException as error:
            os.write(write, f"{type(error).__name__}: {error}".encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        said = pipe.read().decode()
    os.waitpid(child, 0)
    return said


@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_forked_child_is_refused_in_words(tmp_path):
    with Upscaler(server="http://127.0.0.1:1", out=tmp_path) as upscaler:
        for work in (
            lambda: upscaler.upscale(CAT, power=0),
            lambda: list(upscaler.upscale_many([CAT], power=0)),
            upscaler.free,
        ):
            said = in_a_fork(work)
            assert said.startswith(ServerError.__name__) and "Make an Upscaler in each process" in said
        assert in_a_fork(lambda: upscaler.recall(CAT).origin) == "distillery", "what needs no server works"


@pytest.mark.server
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_the_parents_connections_survive_the_child(server, tmp_path):
    with Upscaler(server=server.url, out=tmp_path) as upscaler:
        upscaler.upscale(CAT, power=0)
        events = upscaler.backend.pool.servers[0].server.connect(print).events
        assert in_a_fork(upscaler.close) == "None"
        assert not events.is_stale
        assert upscaler.upscale(CAT, power=0, sharpen=0.1).path.is_file()
