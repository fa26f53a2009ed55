"""Read a sampler's settings from the graph.

KSampler has all of them at its inputs. SamplerCustomAdvanced has a noise, a guider, a sampler and sigmas, each with
nodes of its own upstream.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ...values import to_integer, to_number
from ..graph.nodes import Link, Node
from .reader import GraphReader, InputRef

PLAIN_SAMPLERS = {"KSampler", "KSamplerAdvanced", "SamplerCustom", "SamplerCustomAdvanced"}
TILED_UPSCALERS = {"UltimateSDUpscale", "UltimateSDUpscaleNoUpscale", "UltimateSDUpscaleCustomSample"}
"""Nodes that run a whole HiRes pass."""
OTHER_SAMPLER_INPUTS = ("guider", "sampler", "sigmas", "basic_pipe", "detailer_pipe")
"""Inputs that, beside pixels or latents, show an unknown node to be a sampler. So do a model and a prompt."""
MAX_SIGMAS = 20
"""Length limit of a chain of sigmas."""


@dataclass(frozen=True)
class Schedule:
    """The steps that a sampler ran: those from ``start`` to ``end`` of ``total``."""

    node: Node
    """The node with the steps."""
    total: int | None
    """Steps of the schedule; ``None`` if unknown."""
    start: int = 0
    end: int | None = None
    """Last step; ``None`` for the end of the schedule."""
    scheduler: InputRef | None = None
    denoise: float = 1.0
    """Below 1 the schedule is itself the tail of one of int(total / denoise) steps."""
    has_denoise: bool = False
    inputs: str = "steps"
    """The inputs with the steps, for their provenance."""

    @property
    def partial(self) -> bool:
        """True if some of its steps are not run."""
        return self.start > 0 or (self.end is not None and self.total is not None and self.end < self.total)


@dataclass(frozen=True)
class Sampling:
    """One pass of a sampler."""

    node: Node
    model: Link | None = None
    positive: tuple[Link | None, ...] = ()
    negative: tuple[Link | None, ...] = ()
    """Empty if the sampler takes none."""
    seed: InputRef | None = None
    cfg: InputRef | None = None
    sampler: InputRef | None = None
    schedule: Schedule | None = None
    adds_noise: bool = True
    """False if it continues with the noise that the sampler before it left."""
    hands_on: bool = False
    """True if it leaves noise for the next sampler."""
    problems: tuple[str, ...] = field(default=())


def read_sampling(reader: GraphReader, node: Node) -> Sampling:
    """Read the settings of a sampler."""
    graph = reader.graph
    class_type = node.class_type
    sampling = Sampling(
        node,
        model=graph.link(node, "model"),
        positive=(graph.link(node, "positive"),),
        negative=(graph.link(node, "negative"),),
        seed=InputRef(node, "noise_seed" if "noise_seed" in node.inputs else "seed"),
        cfg=InputRef(node, "cfg"),
        sampler=InputRef(node, "sampler_name"),
    )
    if node.composite is not None and "negative" not in node.inputs and "pipe" not in node.inputs:
        sampling = replace(sampling, negative=())  # a sampler of an unknown class, without an input for it
    if class_type in ("SamplerCustom", "SamplerCustomAdvanced"):
        sampling = _custom(reader, sampling)
    elif class_type == "KSamplerAdvanced":
        start, end = (to_integer(graph.value(node, name)) for name in ("start_at_step", "end_at_step"))
        total = to_integer(graph.value(node, "steps"))
        schedule = Schedule(node, total if start is not None else None, start or 0, end, InputRef(node, "scheduler"),
                            inputs="steps, start_at_step")  # fmt: skip
        sampling = replace(
            sampling, schedule=schedule, adds_noise=graph.value(node, "add_noise") not in (False, "disable"),
            hands_on=graph.value(node, "return_with_leftover_noise") in (True, "enable"),
        )  # fmt: skip
    else:
        sampling = replace(sampling, schedule=_schedule(reader, node))
    return sampling


def _custom(reader: GraphReader, sampling: Sampling) -> Sampling:
    graph, node = reader.graph, sampling.node
    schedule, problems = _sigmas(reader, graph.input(node, "sigmas"), MAX_SIGMAS)
    sampler, more = _sampler(reader, node)
    sampling = replace(sampling, sampler=sampler, schedule=schedule, hands_on=bool(schedule and schedule.partial))
    if node.class_type == "SamplerCustom":
        adds_noise = graph.value(node, "add_noise") not in (False, "disable")
        return replace(sampling, adds_noise=adds_noise, problems=(*problems, *more))
    noise = graph.input(node, "noise")
    silent = noise is not None and noise[0].class_type == "DisableNoise"
    if noise is None or silent:
        seed = None
    else:
        seed = InputRef(noise[0], "noise_seed" if "noise_seed" in noise[0].inputs else "seed")
        if seed.name not in noise[0].inputs:
            problems = (*problems, f"the noise comes from {noise[0]}, which is not known here: seed is not recalled")
            seed = None
    guided, even_more = _guided(reader, sampling)
    return replace(guided, seed=seed, adds_noise=not silent, problems=(*problems, *more, *even_more))


def _guided(reader: GraphReader, sampling: Sampling) -> tuple[Sampling, tuple[str, ...]]:
    """Read model, prompts and cfg of a guider."""
    graph = reader.graph
    found = graph.input(sampling.node, "guider")
    if found is None:
        return replace(sampling, model=None, positive=(None,), negative=(), cfg=None), ()
    guider = found[0]
    class_type = guider.class_type
    model = graph.link(guider, "model")
    problems: tuple[str, ...] = ()
    if class_type == "BasicGuider":
        # It runs the model once a step, which is what cfg 1 comes to.
        positive, negative = (graph.link(guider, "conditioning"),), ()
        return replace(sampling, model=model, positive=positive, negative=negative, cfg=InputRef(guider, value=1.0)), ()
    cfg = InputRef(guider, "cfg")
    positives: tuple[Link | None, ...] = (graph.link(guider, "positive"),)
    if class_type == "DualCFGGuider":
        cfg = InputRef(guider, "cfg_conds")
        # The second one stands between the prompts: mostly a picture with the text of the negative prompt.
        positives = (graph.link(guider, "cond1"),)
        problems = (f"{guider} has a second conditioning with a guidance of its own: that is not kept",)
    elif class_type != "CFGGuider":
        problems = (f"{guider} guides in a way that is not known here: only its model, prompts and cfg are read",)
        if positives == (None,):
            positives = (graph.link(guider, "conditioning"),)
    negatives = (graph.link(guider, "negative"),)
    return replace(sampling, model=model, positive=positives, negative=negatives, cfg=cfg), problems


# sampler nodes

_SAMPLERS = {
    "SamplerEulerAncestral": "euler_ancestral", "SamplerEulerAncestralCFGPP": "euler_ancestral_cfg_pp",
    "SamplerDPMPP_2M_SDE": "dpmpp_2m_sde", "SamplerDPMPP_3M_SDE": "dpmpp_3m_sde", "SamplerDPMPP_SDE": "dpmpp_sde",
    "SamplerDPMPP_2S_Ancestral": "dpmpp_2s_ancestral", "SamplerDPMAdaptative": "dpm_adaptive", "SamplerLMS": "lms",
    "SamplerLCMUpscale": "lcm", "SamplerER_SDE": "er_sde", "SamplerSASolver": "sa_solver", "SamplerSEEDS2": "seeds_2",
}  # fmt: skip
"""Sampler names of ComfyUI's sampler nodes."""
_USUAL = {"eta": 1.0, "s_noise": 1.0, "r": 0.5}
_ON_GPU = {"dpmpp_2m_sde", "dpmpp_3m_sde", "dpmpp_sde"}


def _sampler(reader: GraphReader, node: Node) -> tuple[InputRef | None, tuple[str, ...]]:
    graph = reader.graph
    found = graph.input(node, "sampler")
    if found is None:
        return None, ()
    source = found[0]
    if source.class_type == "KSamplerSelect":
        return InputRef(source, "sampler_name"), ()
    name = _SAMPLERS.get(source.class_type)
    if name is None:
        return None, (f"the sampler comes from {source}, which is not known here: it is not recalled",)
    if name == "dpmpp_2m_sde" and graph.value(source, "solver_type") == "heun":
        name = "dpmpp_2m_sde_heun"
    if name == "sa_solver" and graph.value(source, "use_pece") is True:
        name = "sa_solver_pece"
    if name in _ON_GPU and graph.value(source, "noise_device") == "gpu":
        name += "_gpu"
    unusual = [
        f"{key} {value:g}" for key, usual in _USUAL.items()
        if (value := to_number(graph.value(source, key))) is not None and value != usual
    ]  # fmt: skip
    problems = (f"{source} samples with {', '.join(unusual)}, which is not kept",) if unusual else ()
    return InputRef(source, value=name), problems


# sigmas

_SCHEDULERS = {
    # class: (the scheduler's name, whether that is not quite it)
    "KarrasScheduler": ("karras", False),
    "ExponentialScheduler": ("exponential", False),
    "PolyexponentialScheduler": ("exponential", True),
    "BetaSamplingScheduler": ("beta", False),
    "AlignYourStepsScheduler": ("karras", True),
    # Equal steps, as simple makes them, shifted in a way of its own.
    "Flux2Scheduler": ("simple", True),
    "LTXVScheduler": ("simple", True),
    "SDTurboScheduler": ("sgm_uniform", True),
}


def _schedule(reader: GraphReader, node: Node, scheduler: InputRef | None = None) -> Schedule:
    """Read the schedule of a node that has ``steps`` and possibly ``denoise``."""
    total = to_integer(reader.graph.value(node, "steps"))
    denoise = to_number(reader.graph.value(node, "denoise"))
    return Schedule(
        node, total, scheduler=scheduler or (InputRef(node, "scheduler") if "scheduler" in node.inputs else None),
        denoise=denoise if denoise is not None and 0 < denoise <= 1 else 1.0, has_denoise="denoise" in node.inputs,
    )  # fmt: skip


def _sigmas(
    reader: GraphReader, source: tuple[Node, int] | None, depth: int
) -> tuple[Schedule | None, tuple[str, ...]]:
    """Read the schedule of sigmas; returns it with warnings."""
    if source is None or depth == 0:
        return None, ()
    graph, (node, slot) = reader.graph, source
    class_type = node.class_type
    if graph.link(node, "sigmas"):
        schedule, problems = _sigmas(reader, graph.input(node, "sigmas"), depth - 1)
        if class_type not in ("SplitSigmas", "SplitSigmasDenoise"):
            return schedule, (*problems, f"{node} changes the sigmas: what it does is not kept")
        return _split(reader, node, slot, schedule), problems
    if class_type in ("BasicScheduler",):
        return _schedule(reader, node), ()
    if class_type in _SCHEDULERS:
        name, inexact = _SCHEDULERS[class_type]
        problem = f"{node} has no exact counterpart among the schedulers' names: {name} stands in for it"
        return _schedule(reader, node, InputRef(node, value=name)), (problem,) if inexact else ()
    if "steps" in node.inputs:
        return _schedule(reader, node), (
            f"the schedule of {node} has no name that is known here: scheduler is not recalled",
        )
    return None, (f"the sigmas come from {node}, which is not known here: steps and scheduler are not recalled",)


def _split(reader: GraphReader, node: Node, slot: int, whole: Schedule | None) -> Schedule | None:
    """Return one of the two halves of split sigmas."""
    if whole is None or whole.total is None:
        return whole
    end = whole.total if whole.end is None else min(whole.end, whole.total)
    if node.class_type == "SplitSigmas":
        step = to_integer(reader.graph.value(node, "step"))
        at = None if step is None else whole.start + step
    else:
        denoise = to_number(reader.graph.value(node, "denoise"))
        at = None if denoise is None else end - round((end - whole.start) * denoise)
    if at is None or not whole.start <= at <= end:
        return replace(whole, total=None)
    return replace(whole, end=at) if slot == 0 else replace(whole, start=at, end=end)


def denoise_for(steps: int, total: int) -> float:
    """Return the denoise with the fewest digits at which KSampler runs ``steps`` steps as the tail of ``total``.

    KSampler makes a schedule of int(steps / denoise) steps and runs its end.
    """
    if steps >= total:
        return 1.0
    for digits in range(1, 6):
        denoise = round(steps / total, digits)
        if 0 < denoise <= 1 and int(steps / denoise) == total:
            return denoise
    return steps / total
