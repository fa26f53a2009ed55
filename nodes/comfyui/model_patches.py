"""Apply stock nodes to a model: through ComfyUI's own classes, as a graph would."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import nodes as stock  # ComfyUI's own module of that name

from ..errors import DistilleryError
from ..model_parts import Patch


def apply_patches(model: Any, patches: Sequence[Patch], guidance: float | None) -> Any:
    """Return a MODEL with the patches, in their order, and with the distilled guidance where there is one.

    Raises DistilleryError where this ComfyUI does not have a node of that class.
    """
    for patch in patches:
        model = run_stock(patch.node, model=model, **patch.values)[0]
    return model if guidance is None else with_guidance(model, guidance)


def run_stock(class_type: str, **inputs: Any) -> Sequence[Any]:
    """Run a node of ComfyUI's; inputs that are not given have their defaults."""
    node = stock.NODE_CLASS_MAPPINGS.get(class_type)
    if node is None:
        raise DistilleryError(
            f"The image was made with the node {class_type}, which this ComfyUI does not have. Update ComfyUI, or choose a "
            "checkpoint with --model NAME."
        )
    defined = node.INPUT_TYPES()
    for name, spec in {**defined.get("required", {}), **defined.get("optional", {})}.items():
        if name not in inputs and len(spec) > 1 and "default" in spec[1]:
            inputs[name] = spec[1]["default"]
    result = getattr(node(), node.FUNCTION)(**inputs)
    # Nodes of the newer form return an object that holds the tuple.
    return result if isinstance(result, tuple) else tuple(result.result)


def with_guidance(model: Any, guidance: float) -> Any:
    """Return a MODEL that is told this guidance where a conditioning does not say another.

    What FluxGuidance does, on the model, so that the graph stays as it is. Models without distilled guidance ignore it.
    """
    patched = model.clone()
    original: Callable[..., Any] = patched.get_model_object("extra_conds")

    def extra_conds(**given: Any) -> Any:
        given.setdefault("guidance", guidance)
        return original(**given)

    patched.add_object_patch("extra_conds", extra_conds)
    return patched
