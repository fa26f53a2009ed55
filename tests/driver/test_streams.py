"""Output that is closed, of another encoding, or whose reader goes away, costs no job."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from distillery.driver.cli.streams import json_line

SCRIPT = """
import sys
from distillery.driver.cli import streams
streams.harden()
print("\\u6f22\\u5b57 \\U0001f600 \\udcff")
streams.print_json({"path": "\\u6f22\\u5b57 \\U0001f600 \\udcff.png"})
print("still here", file=sys.stderr)
sys.exit(3 if streams.output_error() else 0)
"""


def run(script=SCRIPT, **options):
    return subprocess.run([sys.executable, "-c", script], timeout=60, **options)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8", "cp932"])
def test_any_text_is_printed_in_any_encoding(encoding):
    variables = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    done = run(capture_output=True, env=variables)
    assert done.returncode == 0 and b"Traceback" not in done.stderr
    line = done.stdout.decode(encoding).splitlines()[1]
    assert json.loads(line)["path"] == "\u6f22\u5b57 \U0001f600 \udcff.png"


def test_readable_text_stays_readable():
    assert json_line({"a": "\u6f22"}) == '{"a": "\u6f22"}'


@pytest.mark.skipif(os.name == "nt", reason="file descriptors of POSIX")
@pytest.mark.parametrize("closed", ["1>&-", "2>&-", "1>&- 2>&-", "| true", "2>&1 | head -c 1"])
def test_closed_streams_and_readers_that_leave_change_nothing(closed, tmp_path):
    script = SCRIPT.replace("sys.exit(", f"open({str(tmp_path / 'made')!r}, 'w').close(); sys.exit(")
    (tmp_path / "script.py").write_text(script)
    command = f"set -o pipefail; '{sys.executable}' '{tmp_path / 'script.py'}' {closed}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "made").exists() and b"Exception" not in done.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux has a disk that is always full")
def test_a_full_disk_behind_the_output_is_told_at_the_end():
    with Path("/dev/full").open("w") as full:
        assert run(stdout=full).returncode == 3


def test_the_cli_itself_survives_ascii(tmp_path):
    """Through main, which is what a pipe on Windows meets."""
    variables = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    name = tmp_path / "\u6f22\u5b57.png"
    done = subprocess.run(
        [sys.executable, "-m", "distillery.driver", "checkmetadata", str(name), "--json"],
        capture_output=True, env=variables, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2 and "There is no file" in json.loads(done.stdout)["error"]
