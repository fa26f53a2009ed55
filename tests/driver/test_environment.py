"""The managed server inherits what it needs, and no secrets."""

from __future__ import annotations

import pytest

from distillery.driver.server.environment import OFFLINE, mattering, server_environment


@pytest.mark.parametrize(
    "name",
    [
        "PATH", "Path", "HOME", "SystemRoot", "LANG", "LC_ALL", "TMPDIR", "CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES",
        "HSA_OVERRIDE_GFX_VERSION", "PYTORCH_CUDA_ALLOC_CONF", "OMP_NUM_THREADS", "OPENBLAS_CORETYPE", "LD_LIBRARY_PATH",
        "DISTILLERY_MODELS", "DISTILLERY_OFFLINE", "XDG_CACHE_HOME", "HTTPS_PROXY", "no_proxy",
    ],
)  # fmt: skip
def test_what_a_server_needs_is_inherited(name):
    assert server_environment({name: "x"}) == {name: "x", **OFFLINE}


@pytest.mark.parametrize(
    "name",
    [
        "DISTILLERY_DISCORD_TOKEN", "GITHUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "OPENAI_API_KEY", "PGPASSWORD", "SSH_AUTH_SOCK",
        "HF_TOKEN", "DISTILLERY_SERVER_HEADERS", "PYTHONPATH", "PYTHONSTARTUP", "PIP_INDEX_URL", "NVIDIA_API_KEY", "TORCH_TOKEN", "MY_SETTING",
        "COMFYUI_API_KEY", "DATABASE_URL",
    ],
)  # fmt: skip
def test_secrets_and_what_it_does_not_need_are_not(name):
    assert server_environment({name: "x"}) == OFFLINE


def test_a_variable_of_the_user_does_not_put_it_on_the_network():
    assert server_environment({"HF_HUB_OFFLINE": "0", "PYTHONUTF8": "0"}) == OFFLINE


def test_what_makes_a_server_another_one():
    devices = {"CUDA_VISIBLE_DEVICES": "1", "DISTILLERY_MODELS": "/m", "OMP_NUM_THREADS": "2"}
    assert (
        mattering({**devices, "PATH": "/bin", "TERM": "xterm", "DISTILLERY_HOME": "/h", "CUDA_CACHE_TOKEN": "x"})
        == devices
    )
    assert mattering({"CUDA_VISIBLE_DEVICES": ""}) == {}
