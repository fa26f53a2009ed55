"""The environment of the managed server: an allow-list, so that no token of the user's shell goes into it."""

from __future__ import annotations

import re
from collections.abc import Mapping

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
        "LD_LIBRARY_PATH",
        "LD_PRELOAD",
        "LIBRARY_PATH",
        "DYLD_LIBRARY_PATH",
        "DYLD_FALLBACK_LIBRARY_PATH",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "REQUESTS_CA_BUNDLE",
        "CURL_CA_BUNDLE",
        "CC",
        "CXX",
        "CUDAHOSTCXX",
        "ONEAPI_DEVICE_SELECTOR",
        "ZE_AFFINITY_MASK",
        "GPU_MAX_HW_QUEUES",
        "NEOREADDEBUGKEYS",
        "CLINFO",
    ]
)
_PREFIXES = (
    "LC_", "XDG_", "DISTILLERY_", "COMFYUI_", "CUDA", "CUDNN_", "CUBLAS_", "NVIDIA_", "NCCL_", "HIP_", "HSA_", "ROCM_", "ROCR_",
    "MIOPEN_", "AMD_", "TORCH_", "TORCHINDUCTOR_", "PYTORCH_", "TRITON_", "XFORMERS_", "OMP_", "KMP_", "GOMP_", "MKL_", "DNNL_",
    "ONEDNN_", "OPENBLAS_", "BLIS_", "VECLIB_", "NUMEXPR_", "SYCL_", "IPEX_", "MPS_", "METAL_", "MALLOC_", "HF_HOME", "HF_HUB_CACHE",
)  # fmt: skip
_SECRET = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY", re.I)


def server_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what of an environment the server is given, with :data:`OFFLINE` laid over it.

    That is what processes need to run at all, and what tunes graphics cards, threads and memory; nothing else, and nothing
    whose name is that of a secret. Proxies are left out: the server fetches nothing.
    """
    return {name: value for name, value in environ.items() if _is_needed(name)} | OFFLINE


def _is_needed(name: str) -> bool:
    upper = name.upper()  # as Windows compares them
    return (upper in _NAMES or upper.startswith(_PREFIXES)) and not _SECRET.search(upper)
