"""Read steps and size of the first pass, the HiRes pass and the sharpening."""

from __future__ import annotations

from ...values import to_integer, to_number
from ..graph.nodes import Node
from .image_path import ImagePath, is_sampler
from .picture_size import own_size_inputs, picture_size
from .reader import GraphReader, InputRef
from .samplers import TILED_UPSCALERS, Sampling, Schedule, denoise_for


def read_steps(reader: GraphReader, sampling: Sampling, image_path: ImagePath) -> None:
    """Set the steps, denoise and scheduler of the first pass."""
    schedule = sampling.schedule
    if schedule is None:
        return
    reader.set_from("scheduler", schedule.scheduler)
    if schedule.has_denoise and not schedule.partial:
        reader.set_from("steps", InputRef(schedule.node, "steps"))
        reader.set_from("denoise", InputRef(schedule.node, "denoise"))
        return
    ran = _ran(schedule)
    if ran is None:
        reader.builder.warn(f"{sampling.node} does not say how many steps it ran")
        return
    remaining, total = ran
    others = (image_path.sampling(node) for node in image_path.samplers if node is not sampling.node)
    followers = [other for other in others if not other.adds_noise]
    custom = sampling.node.class_type != "KSamplerAdvanced"
    handed_on = sampling.hands_on and (bool(followers) or not custom)
    # What is left over is run by the next sampler, Distillery's refiner for one: the steps of both count.
    end = schedule.end if schedule.end is not None and schedule.total is not None else None
    steps = remaining
    if not handed_on and end is not None and schedule.total is not None:
        steps = max(min(end, schedule.total) - schedule.start, 0)
        _warn_of_an_early_end(reader, sampling.node, schedule)
    where = reader.place(schedule.node, schedule.inputs)
    reader.builder.set("steps", steps, where)
    reader.builder.set("denoise", denoise_for(remaining, total), where)


def _warn_of_an_early_end(reader: GraphReader, node: Node, schedule: Schedule | None) -> None:
    """Warn of a pass that ran the first steps of a schedule only: as many steps of a whole one are not the same."""
    if schedule is None or schedule.end is None or schedule.total is None or not 0 < schedule.end < schedule.total:
        return
    reader.builder.warn(
        f"{node} stopped at step {schedule.end} of {schedule.total}: how its schedule went on is not kept"
    )


def _ran(schedule: Schedule) -> tuple[int, int] | None:
    """Return the steps from the start to the end of the schedule, and those of the full one that it is the tail of."""
    if schedule.total is None or not 0 <= schedule.start < schedule.total:
        return None
    total = int(min(schedule.total / schedule.denoise, 1e6)) if schedule.denoise < 1 else schedule.total
    return schedule.total - schedule.start, total


def ran_denoise(sampling: Sampling) -> float:
    """Return the denoise of a pass, 0 where it is unknown."""
    schedule = sampling.schedule
    if schedule is None:
        return 0.0
    if schedule.has_denoise and not schedule.partial:
        return schedule.denoise
    ran = _ran(schedule)
    return ran[0] / ran[1] if ran and ran[1] else 0.0


def read_size(reader: GraphReader, base: Node, image_path: ImagePath) -> None:
    """Set width and height of the first pass: of its empty latent, or of the image that it starts from."""
    sources = image_path.sources(base)
    if not sources:
        return
    node = sources[0]
    size = picture_size(reader, image_path.sources, node)
    if size is None:
        # What is between tells no size of its own; what it starts from may, as the first size on the way.
        return
    maker = next((step for step in image_path.upstream(base)[1:] if own_size_inputs(step)), node)
    names = own_size_inputs(maker) or ("width", "height")
    told = [to_integer(reader.graph.value(maker, name)) for name in names]
    for side, value, name in zip(("width", "height"), size, names, strict=True):
        reader.builder.set(side, value, reader.place(maker, name) if told == list(size) else reader.place(node))


def read_hires(reader: GraphReader, base: Node, image_path: ImagePath) -> None:
    """Set the settings of the second pass."""
    graph, builder = reader.graph, reader.builder
    later = image_path.downstream([base])
    passes = [
        node for node in image_path.samplers
        if (node is base or node.id in later)
        and (node.class_type in TILED_UPSCALERS or (node is not base and image_path.sampling(node).adds_noise))
    ]  # fmt: skip
    parts = [node for node in passes if image_path.repaints_a_part(node)]
    if parts:
        names = ", ".join(map(str, parts[:5]))
        builder.warn(f"a part of the picture alone may have been repainted by {names}: that is no HiRes pass")
    apart = {node.id for node in parts}
    passes = [node for node in passes if node.id not in apart]
    if not passes:
        return
    tiled = [node for node in passes if node.class_type in TILED_UPSCALERS]
    node = (tiled or passes)[-1]
    if len(passes) > 1:
        builder.warn(f"the image had several passes after the first: {node} is read as its HiRes pass")
    schedule = image_path.sampling(node).schedule
    if schedule is not None and schedule.has_denoise and not schedule.partial:
        reader.set_from("hires.steps", InputRef(schedule.node, "steps"))
        reader.set_from("hires.denoise", InputRef(schedule.node, "denoise"))
    elif schedule is not None and (ran := _ran(schedule)):
        where = reader.place(schedule.node, schedule.inputs)
        builder.set("hires.steps", ran[0], where)
        builder.set("hires.denoise", denoise_for(*ran), where)
    if tiled:
        sides = [to_integer(graph.value(node, name)) for name in ("tile_width", "tile_height")]
        if sides[0] and sides[1]:
            builder.set("hires.tile", max(sides[0], sides[1]), reader.place(node, "tile_width"))
    if "upscale_by" in node.inputs:
        reader.set_from("hires.scale", InputRef(node, "upscale_by"))
    _warn_of_an_early_end(reader, node, schedule)
    _enlargement(reader, node, image_path)


def _enlargement(reader: GraphReader, node: Node, image_path: ImagePath) -> None:
    """Set the upscale model between the passes, and the scale if it is known."""
    graph, builder = reader.graph, reader.builder
    with_model = False
    for step in [node, *image_path.upstream(node)[1:]]:
        if step is not node and is_sampler(step):
            break
        model = graph.input(step, "upscale_model")
        if model and "model_name" in model[0].inputs:
            reader.set_from("hires.upscaler", InputRef(model[0], "model_name"))
            with_model = True
        elif step.class_type in ("LatentUpscaleBy", "ImageScaleBy"):
            # Before or after a model, whose own scale the file does not tell, it is not the whole enlargement.
            if not with_model and not _model_before(reader, step, image_path):
                reader.set_from("hires.scale", InputRef(step, "scale_by"))
        elif step.class_type in ("LatentUpscale", "ImageScale") and builder.has("width"):
            width = to_number(graph.value(step, "width"))
            base = builder.get("width")
            if width and base:
                builder.set("hires.scale", width / base, reader.place(step, "width"))


def _model_before(reader: GraphReader, start: Node, image_path: ImagePath) -> bool:
    """Return True if an upscale model comes before this node; expanded nodes know their whole scale."""
    if start.composite is not None:
        return False
    for node in image_path.upstream(start)[1:]:
        if is_sampler(node):
            return False
        if reader.graph.input(node, "upscale_model"):
            return True
    return False


def read_sharpening(reader: GraphReader, image_path: ImagePath) -> None:
    """Set the sharpening that came after the last sampler."""
    for node in image_path.nodes:
        if is_sampler(node):
            break
        # Distillery's own sharpening; any other kernel is another thing under the same name.
        kernel = [to_number(reader.graph.value(node, name)) for name in ("sharpen_radius", "sigma")]
        if node.class_type == "ImageSharpen" and kernel == [1, 0.5]:
            reader.set_from("sharpen", InputRef(node, "alpha"))
