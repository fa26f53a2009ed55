"""The models that the default job needs."""

from __future__ import annotations

import logging
from collections.abc import Callable

from ...nodes.model_files.mini import ensure_mini
from .. import paths
from .realesrgan import ensure_realesrgan

log = logging.getLogger(__name__)


def prepare_models(say: Callable[[str], None]) -> None:
    """Put the models that the default job needs into the managed server's models folder.

    What cannot be fetched is only told: the user's own models may do without it, and otherwise the node that
    needs it says what to do.
    """
    models = paths.models_dir()
    for ensure, folder in ((ensure_realesrgan, models), (ensure_mini, models / "checkpoints")):
        try:
            ensure(folder, say)
        except Exception as error:
            log.warning("%s", error)
            say(str(error))
