"""What of a managed server's files is deleted, and what never."""

import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace

from distillery.driver.server import janitor
from distillery.driver.server.janitor import Found, clean, scan, superfluous


def names(chosen):
    return [file.path.name for file in chosen]


def test_what_is_old_goes_and_what_is_young_stays():
    files = [Found(Path(n), 10, age) for n, age in (("new", 5.0), ("hour", 3600.0), ("day", 86_400.0))]
    assert names(superfluous(files)) == ["day"]


def test_a_full_folder_loses_the_oldest_first_and_no_more_than_needed():
    files = [Found(Path(n), 40, age) for n, age in (("a", 1000.0), ("b", 3000.0), ("c", 2000.0), ("new", 1.0))]
    assert names(superfluous(files, max_bytes=130)) == ["b"]
    assert names(superfluous(files, max_bytes=0)) == ["b", "c", "a"]  # the newest may be in use
    assert names(superfluous(files, max_files=2)) == ["b", "c"]


def test_only_files_of_its_folders_are_deleted_and_none_that_a_job_waits_for(tmp_path, monkeypatch):
    long_ago = time.time() - 10 * janitor.MAX_AGE
    for name in ("temp/old.png", "temp/queued.png", "output/distillery/old.png", "temp/new.png", "user/settings.json"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
        if "new" not in name:
            os.utime(path, (long_ago, long_ago))
    (tmp_path / "temp" / "link.png").symlink_to(tmp_path / "user" / "settings.json")
    queued = (0, "id", {"1": {"inputs": {"image": "queued.png [temp]"}}}, {}, [], {})
    queue = SimpleNamespace(get_current_queue_volatile=lambda: ([], [queued]))
    server = SimpleNamespace(PromptServer=SimpleNamespace(instance=SimpleNamespace(prompt_queue=queue)))
    monkeypatch.setitem(sys.modules, "server", server)
    assert len(list(scan(tmp_path, time.time()))) == 4
    assert clean(tmp_path) == 2
    left = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file())
    assert left == ["temp/link.png", "temp/new.png", "temp/queued.png", "user/settings.json"]
