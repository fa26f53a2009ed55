"""A lock between processes, held by the operating system: it ends with the process, however that ends."""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_POLL = 0.2
_UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}


@contextmanager
def exclusive(path: Path, waiting: Callable[[], None] | None = None) -> Iterator[bool]:
    """Hold ``path`` as a lock, waiting for as long as another process or thread holds it.

    waiting: called several times a second while the lock is another's; it may raise to give up.
    Yields False where the file system has no locks (some network shares): the caller then has to do with
    names of its own. The file is removed at the end.
    Raises OSError where the file cannot be made.
    """
    fd, locked = _acquire(path, waiting)
    try:
        yield locked
    finally:
        # Windows refuses to remove an open file, so that a process which opened it meanwhile is safe there;
        # elsewhere such a process sees in _acquire that its file is no longer the one at this path.
        if sys.platform != "win32":
            path.unlink(missing_ok=True)
        os.close(fd)
        if sys.platform == "win32":
            try:
                path.unlink(missing_ok=True)
            except OSError:
                pass


def _acquire(path: Path, waiting: Callable[[], None] | None) -> tuple[int, bool]:
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            while not _try_lock(fd):
                if waiting is not None:
                    waiting()
                time.sleep(_POLL)
            if _is_at(fd, path):
                return fd, True
        except OSError as error:
            if error.errno in _UNSUPPORTED:
                return fd, False
            os.close(fd)
            raise
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


def _try_lock(fd: int) -> bool:
    try:
        if sys.platform == "win32":
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN, errno.EDEADLK):
            return False
        raise
    return True


def _is_at(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False
