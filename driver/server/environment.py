"""The environment of the managed server: an allow-list, so that no token of the user's shell goes into it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "DO_NOT_TRACK": "1", "PYTHONUTF8": "1"}
"""Everything that the server needs is on disk: no library of its own asks a network for it."""

_NAMES = frozenset(
    [
        "PATH",
        "HOME",
        "USER",
        "LOGNAME",
        "SHELL",
        "LANG",
        "LANGUAGE",
        "TZ",
        "TERM",
        "TMPDIR",
        "TEMP",
        "TMP",
        "DISPLAY",
        "WAYLAND_DISPLAY",
        "SYSTEMROOT",
        "SYSTEMDRIVE",
        "WINDIR",
        "COMSPEC",
        "PATHEXT",
        "APPDATA",
        "LOCALAPPDATA",
        "PROGRAMDATA",
        "PROGRAMFILES",
        "PROGRAMFILES(X86)",
        "PROGRAMW6432",
        "COMMONPROGRAMFILES",
        "USERPROFILE",
        "USERNAME",
        "HOMEDRIVE",
        "HOMEPATH",
        "PROCESSOR_ARCHITECTURE",
        "NUMBER_OF_PROCESSORS",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "REQUESTS_CA_BUNDLE",
        "CURL_CA_BUNDLE",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
        "CC",
        "CXX",
        "CUDAHOSTCXX",
        "CLINFO",
        "DISTILLERY_HOME",
    ]
)
_MATTERING_NAMES = frozenset(
    [
        "LD_LIBRARY_PATH",
        "LD_PRELOAD",
        "LIBRARY_PATH",
        "DYLD_LIBRARY_PATH",
        "DYLD_FALLBACK_LIBRARY_PATH",
        "ONEAPI_DEVICE_SELECTOR",
        "ZE_AFFINITY_MASK",
        "GPU_MAX_HW_QUEUES",
        "NEOREADDEBUGKEYS",
        "DISTILLERY_MODELS",
        "DISTILLERY_OFFLINE",
    ]
)
"""What changes how or with what a server works, so that another value needs another server."""
_PREFIXES = ("LC_", "XDG_")
_MATTERING_PREFIXES = (
    "COMFYUI_", "CUDA", "CUDNN_", "CUBLAS_", "NVIDIA_", "NCCL_", "HIP_", "HSA_", "ROCM_", "ROCR_",
    "MIOPEN_", "AMD_", "TORCH_", "TORCHINDUCTOR_", "PYTORCH_", "TRITON_", "XFORMERS_", "OMP_", "KMP_", "GOMP_", "MKL_", "DNNL_",
    "ONEDNN_", "OPENBLAS_", "BLIS_", "VECLIB_", "NUMEXPR_", "SYCL_", "IPEX_", "MPS_", "METAL_", "MALLOC_", "HF_HOME", "HF_HUB_CACHE",
)  # fmt: skip
_SECRET = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY", re.I)


def server_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what of an environment the server is given, with :data:`OFFLINE` laid over it.

    That is what processes need to run at all, what leads to the network (the one thing that a node fetches is 4x-UltraSharp),
    and what tunes graphics cards, threads and memory; nothing else, and nothing whose name is that of a secret.
    """
    return {name: value for name, value in environ.items() if _is_needed(name) or _matters(name)} | OFFLINE


def mattering(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what of an environment makes a server another one: the models it has, the devices and threads it uses."""
    return {name.upper(): value for name, value in sorted(environ.items()) if _matters(name) and value}


def server_identity(checkout: Path, environ: Mapping[str, str]) -> str:
    """Return eight hexadecimal digits that tell servers apart: of the checkout, and of what matters of the environment."""
    text = "\0".join([str(checkout), *(f"{name}={value}" for name, value in mattering(environ).items())])
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:8]


def _is_needed(name: str) -> bool:
    upper = name.upper()  # as Windows compares them
    return (upper in _NAMES or upper.startswith(_PREFIXES)) and not _SECRET.search(upper)


def _matters(name: str) -> bool:
    upper = name.upper()
    return (upper in _MATTERING_NAMES or upper.startswith(_MATTERING_PREFIXES)) and not _SECRET.search(upper)
