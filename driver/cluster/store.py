"""Pictures in an object store: a folder, S3, Google Cloud Storage or Azure, by URL."""

from __future__ import annotations

import contextlib
import hashlib
import uuid
from datetime import timedelta
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, from_url

from .addresses import shown
from .errors import ClusterError, MissingObject, StoreError

SCHEMES = ("file", "s3", "s3a", "gs", "az", "abfs", "abfss")
TIMEOUT = "60s"


class Store:
    """An object store. Safe for use by several threads.

    url: ``file:///folder``, ``s3://bucket/prefix``, ``gs://…``, ``az://…``; credentials come from the environment, as
    the SDKs of these read them (``AWS_ACCESS_KEY_ID``, ``AWS_ENDPOINT_URL``, …). Raises ClusterError.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        parts = urlsplit(url)
        if parts.scheme not in SCHEMES or parts.password or parts.query:
            raise ClusterError(
                f"{shown(url)} cannot be used as a store. Give the URL of a folder (file:///srv/distillery) or a bucket "
                "(s3://bucket/prefix, gs://…, az://…), without a login: credentials are read from the environment."
            )
        self._folder = Path(url2pathname(unquote(parts.path))) if parts.scheme == "file" else None
        try:
            if self._folder is not None:
                self._store = LocalStore(str(self._folder), mkdir=True)
            else:
                options = {"timeout": TIMEOUT, "connect_timeout": "5s", "allow_http": True}
                retries = {"max_retries": 3, "retry_timeout": timedelta(seconds=20)}
                self._store = from_url(url, client_options=options, retry_config=retries)  # type: ignore[call-overload]
        except (BaseError, OSError, ValueError) as error:
            raise StoreError(f"The store {shown(url)} cannot be opened: {_reason(error)}") from error

    def check(self) -> None:
        """Write, read and delete an object. Raises StoreError."""
        name = f"checks/{uuid.uuid4().hex}"  # of its own: others check at the same time
        self.put(name, b"distillery")
        if self.get(name) != b"distillery":
            raise StoreError(f"The store {shown(self.url)} gives back something else than what was written.")
        self.delete(name)

    def put(self, name: str, data: bytes) -> None:
        """Write an object whole. Raises StoreError."""
        try:
            obstore.put(self._store, name, data)
        except (BaseError, OSError, ValueError) as error:
            raise StoreError(
                f"The store {shown(self.url)} cannot be written: {_reason(error)} Check its space, and the rights of "
                "this process to it."
            ) from error

    def put_once(self, folder: str, data: bytes, suffix: str = ".png") -> str:
        """Write an object under its SHA-256, unless it is there; returns its name. Raises StoreError."""
        name = f"{folder}/{hashlib.sha256(data).hexdigest()}{suffix}"
        if not self.has(name, len(data)):
            self.put(name, data)
        return name

    def has(self, name: str, size: int) -> bool:
        """Return True if there is an object of that name and size. Raises StoreError."""
        try:
            return int(obstore.head(self._store, name)["size"]) == size
        except FileNotFoundError:
            return False
        except (BaseError, OSError, ValueError) as error:
            raise StoreError(f"The store {shown(self.url)} cannot be read: {_reason(error)}") from error

    def get(self, name: str) -> bytes:
        """Read an object. Raises MissingObject, StoreError."""
        try:
            return bytes(obstore.get(self._store, name).bytes())
        except FileNotFoundError:
            raise MissingObject(f"The store {shown(self.url)} no longer has {name}.") from None
        except (BaseError, OSError, ValueError) as error:
            raise StoreError(f"The store {shown(self.url)} cannot be read: {_reason(error)}") from error

    def get_by_hash(self, name: str) -> bytes:
        """Read an object that is named after its SHA-256, and compare. Raises MissingObject, StoreError."""
        data = self.get(name)
        if hashlib.sha256(data).hexdigest() != Path(name).stem:
            raise StoreError(f"The store {shown(self.url)} has {name} with other bytes than were written.")
        return data

    def delete(self, name: str) -> None:
        """Delete an object, if it is there and can be."""
        with contextlib.suppress(BaseError, OSError, ValueError):
            obstore.delete(self._store, name)

    def link(self, name: str, seconds: float) -> str | None:
        """Return a link that anybody can fetch the object with for so long; None where the store gives none (a folder)."""
        if self._folder is not None:
            return None
        try:
            return str(obstore.sign(self._store, "GET", name, timedelta(seconds=seconds)))  # type: ignore[call-overload]
        except (BaseError, OSError, ValueError) as error:
            raise StoreError(f"The store {shown(self.url)} cannot sign links: {_reason(error)}") from error


def folder_url(folder: Path) -> str:
    """Return the store's URL of a folder."""
    return folder.absolute().as_uri()


def _reason(error: Exception) -> str:
    """Say in a line why a store failed, without its answer's headers and bodies."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}."
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return text[:300].rstrip(".") + "."
