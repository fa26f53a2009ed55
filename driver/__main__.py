"""``python -m distillery.driver``."""

import sys

from .cli import main

sys.exit(main())
