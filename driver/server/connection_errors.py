"""What a server that does not answer, or does not let one in, is told as."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping

import requests


def why_no_answer(url: str, error: requests.RequestException) -> str:
    """Say why there was no answer, and what to do."""
    if isinstance(error, requests.exceptions.InvalidSchema) and "SOCKS" in str(error):
        return (
            f"The server at {url} is to be reached through a SOCKS proxy (ALL_PROXY), for which PySocks is missing. Unset that "
            "variable, name the host in NO_PROXY, or: ./distillery python -m pip install pysocks python-socks"
        )
    if isinstance(error, requests.exceptions.ProxyError):
        return (
            f"The proxy that HTTP_PROXY, HTTPS_PROXY or ALL_PROXY names does not lead to {url}. Name the host in NO_PROXY if it "
            "needs none."
        )
    if isinstance(error, requests.exceptions.SSLError):
        return f"{_tls(url, error)}"
    return f"The server at {url} does not answer ({reason(error)}). Is it running?"


def _tls(url: str, error: BaseException) -> str:
    text = " ".join(str(one) for one in _chain(error))
    if (
        any(isinstance(one, ssl.SSLCertVerificationError) for one in _chain(error))
        or "certificate verify failed" in text
    ):
        return (
            f"The certificate of {url} is not trusted ({_verification(text)}). If it is of an authority of your own, give its "
            "file: --ca FILE, or SSL_CERT_FILE."
        )
    return f"There is no secure connection to {url}. Does it speak HTTPS, or is it http://?"


def _verification(text: str) -> str:
    found = re.search(r"certificate verify failed: ([^(\[]{1,120})", text)
    return found[1].strip(" .") if found else "verification failed"


def why_denied(url: str, status: int, headers: Mapping[str, str]) -> str | None:
    """Say what an answer means that is of whatever stands before the server; None for other answers."""
    if 300 <= status < 400:
        where = re.sub(r"//[^/@]*@", "//", headers.get("Location", "").partition("?")[0])[:200]
        return f"{url} redirects to {where or 'nowhere'}: give the address of the ComfyUI itself."
    if status == 407:
        return f"The proxy on the way to {url} asks for a password: give it in HTTP_PROXY or HTTPS_PROXY."
    if status in (401, 403):
        return (
            f"The server at {url} lets nobody in without the right password or token ({status}). Give it in the URL "
            '(http://user:password@host), or as a header: --header "Authorization: Bearer TOKEN" (or DISTILLERY_SERVER_HEADERS).'
        )
    return None


def reason(error: requests.RequestException) -> str:
    """Name an error of the connection in a few words."""
    if isinstance(error, requests.Timeout):
        return "timed out"
    return "connection refused" if refused(error) else "connection failed"


def _chain(error: BaseException, depth: int = 0) -> list[BaseException]:
    """An error with those it was made of: requests wraps urllib3's MaxRetryError, whose reason was the socket's own."""
    inner = [error.__cause__, getattr(error, "reason", None), *getattr(error, "args", ())]
    found = [error]
    for one in inner:
        if isinstance(one, BaseException) and one is not error and depth < 8:
            found += _chain(one, depth + 1)
    return found


def refused(error: BaseException) -> bool:
    """Return True where no connection came about, so that nothing can have reached the server."""
    return any(isinstance(one, requests.ConnectTimeout | ConnectionRefusedError) for one in _chain(error))
