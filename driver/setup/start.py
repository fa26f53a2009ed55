"""Run a module as ``python -m`` does, but with nothing of the current folder importable.

    python start.py MODULE arguments…

``python -m`` and ``python -c`` would import a queue.py or random.py of the current folder in place of Python's own;
the option -P, which prevents that, is not in Python 3.10.
"""

import os
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:] = [entry for entry in sys.path if entry and os.path.abspath(entry) != _HERE]

import runpy  # noqa: E402

if __name__ == "__main__":
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
