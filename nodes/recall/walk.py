"""From a ComfyUI graph to a generation.

From the output nodes back along the pixels and latents to the samplers; from the first of them along the
model, the text encoder and the conditioning to the loaders. What is met on the way and not known here is
named in a warning: nothing is guessed.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from ..values import to_integer, to_number
from .cutoff import NOT_APPLIED, used_regions
from .draft import Draft
from .graph import Graph, Node, to_link

SAMPLERS = {"KSampler": "seed", "KSamplerAdvanced": "noise_seed"}
"""Samplers, and the name of their seed input. The others are alike."""
TILED_UPSCALERS = {"UltimateSDUpscale", "UltimateSDUpscaleNoUpscale"}
"""A HiRes pass in one node."""
OTHER_SAMPLER_INPUTS = ("guider", "positive", "sampler", "sigmas")
"""By these inputs, beside pixels or latents, a node that is not known here is seen to be a sampler."""

PIXEL_INPUTS = (
    "images", "image", "samples", "latent_image", "latent", "pixels", "upscaled_image", "image1", "image2", "image_a",
    "image_b", "samples1", "samples2", "samples_to", "samples_from", "destination", "source", "latents",
)  # fmt: skip
"""Inputs along which the picture itself comes, as pixels or as latent."""

LORA_LOADERS = {"LoraLoader": True, "LoraLoader|pysssss": True, "LoraLoaderModelOnly": False}
"""LoRA loaders, and whether they patch the text encoder too."""
CHECKPOINT_LOADERS = {"CheckpointLoaderSimple", "CheckpointLoaderSimple|pysssss", "CheckpointLoader"}
MAX_CHAIN = 500
"""Nodes in a row on the way to a loader."""
MAX_CONDITIONINGS = 100
MAX_OUTPUTS = 100


def walk(graph: Graph, where: str) -> Draft:
    """Read a graph. ``where`` names it in the places of the fields, such as ``prompt``."""
    walker = _Walker(graph, where)
    walker.run()
    if graph.exhausted:
        walker.draft.warn("the graph has more links than are followed: it was not read to its end")
    return walker.draft


@dataclass
class _Chain:
    """The way from a sampler or a text encoder to its checkpoint."""

    loras: list[Node] = field(default_factory=list)
    """Nearest to the checkpoint first: the order of application."""
    checkpoint: Node | None = None
    clip_skip: tuple[Any, str] | None = None


class _Walker:
    def __init__(self, graph: Graph, where: str) -> None:
        self.graph = graph
        self.where = where
        self.draft = Draft()
        self._sources: dict[str, list[Node]] = {}

    def place(self, node: Node, name: str = "") -> str:
        return f"{self.where} {node}.{name}" if name else f"{self.where} {node}"

    def run(self) -> None:
        picture = self.picture()
        base = self.base_sampler(picture)
        upscalers = [node for node in picture if node.class_type in TILED_UPSCALERS]
        self.post_processing(picture)
        if base is None and not upscalers:
            self.draft.warn(
                "the graph has no sampler that is read here: "
                + (", ".join(map(str, self.other_samplers(picture)[:5])) or "none leads to an output")
            )
            return
        if base is None:
            # An image that was only upscaled: this is how its pixels were made.
            base = upscalers[-1]
            self.draft.warn(f"the graph has no first pass: what is known of the image is from its {base}")
            self.sampling(base, "seed")
        else:
            self.sampling(base, SAMPLERS[base.class_type])
            self.steps_and_denoise(base, picture)
            self.size(base)
        for other in self.other_samplers(picture):
            self.draft.warn(f"{other} samples in a way that is not read here: what it did is not kept")
        self.hires(base, picture)
        encoders = [self.prompt(base, name) for name in ("positive", "negative")]
        self.models(base, [encoder for encoder in encoders if encoder])
        self.vae(base, picture)

    # the picture's way

    def outputs(self) -> list[Node]:
        """The nodes that save the picture; previews where there are none; else those that nothing follows."""
        nodes = [n for n in self.graph.nodes.values() if any(self.graph.link(n, name) for name in PIXEL_INPUTS)]
        for word in ("save", "preview"):
            if found := [n for n in nodes if word in n.class_type.lower()]:
                return found
        linked = {link.id for n in self.graph.nodes.values() for v in n.inputs.values() if (link := to_link(v))}
        return [n for n in nodes if n.id not in linked] or nodes

    def sources(self, node: Node) -> list[Node]:
        """The nodes that a node's picture comes from directly."""
        if node.id not in self._sources:
            found = (self.graph.input(node, name) for name in PIXEL_INPUTS if name in node.inputs)
            self._sources[node.id] = [source[0] for source in found if source]
        return self._sources[node.id]

    def upstream(self, start: Node) -> list[Node]:
        """The node and those that its picture comes through, nearest first."""
        found: dict[str, Node] = {}
        todo = deque([start])
        while todo:
            node = todo.popleft()
            if node.id not in found:
                found[node.id] = node
                todo += self.sources(node)
        return list(found.values())

    def downstream(self, starts: list[Node], picture: list[Node]) -> set[str]:
        """The ids of the picture's nodes that come after one of the given ones."""
        following: dict[str, list[str]] = {}
        for node in picture:
            for source in self.sources(node):
                following.setdefault(source.id, []).append(node.id)
        found: set[str] = set()
        todo = [next_id for node in starts for next_id in following.get(node.id, ())]
        while todo:
            node_id = todo.pop()
            if node_id not in found:
                found.add(node_id)
                todo += following.get(node_id, ())
        return found

    def picture(self) -> list[Node]:
        """The nodes that the picture comes through, from the output back to its beginning.

        The file does not tell which output node saved it: the one with the most samplers is taken.
        """
        ways = [self.upstream(output) for output in self.outputs()[:MAX_OUTPUTS]]
        if not ways:
            return []
        samplers = [{node.id for node in way if self.is_sampler(node)} for way in ways]
        most = max(range(len(ways)), key=lambda i: len(samplers[i]))
        if any(ids and ids != samplers[most] for ids in samplers):
            self.draft.warn(
                f"the graph saves several pictures: this one is taken to be that of {ways[most][0]}, "
                "which the most samplers lead to"
            )
        return ways[most]

    def is_sampler(self, node: Node) -> bool:
        return node.class_type in SAMPLERS or node.class_type in TILED_UPSCALERS

    def other_samplers(self, picture: list[Node]) -> list[Node]:
        return [
            node for node in picture
            if not self.is_sampler(node) and any(self.graph.link(node, name) for name in OTHER_SAMPLER_INPUTS)
        ]  # fmt: skip

    def base_sampler(self, picture: list[Node]) -> Node | None:
        """The sampler of the first pass: none lies before it."""
        samplers = [node for node in picture if node.class_type in SAMPLERS]
        later = self.downstream(samplers, picture)
        first = [node for node in samplers if node.id not in later]
        if len(first) > 1:
            self.draft.warn(
                "the picture is put together from several first passes "
                f"({', '.join(map(str, first[:5]))}): {first[0]} is kept"
            )
        return first[0] if first else None

    # the sampler

    def take(self, name: str, node: Node, socket: str) -> None:
        """Set a field from an input; an input that is there and cannot be told is a warning."""
        value = self.graph.value(node, socket)
        if value is None and self.graph.link(node, socket):
            culprit = self.graph.culprit(node, socket)
            source = f"comes from {culprit}, which is not known here" if culprit else "is linked to nothing"
            self.draft.warn(f"{node}.{socket} {source}: {name} is not recalled")
        self.draft.set(name, value, self.place(node, socket))

    def sampling(self, node: Node, seed: str) -> None:
        self.take("seed", node, seed)
        self.take("cfg", node, "cfg")
        self.take("sampler", node, "sampler_name")
        self.take("scheduler", node, "scheduler")

    def steps_and_denoise(self, base: Node, picture: list[Node]) -> None:
        if base.class_type == "KSampler":
            self.take("steps", base, "steps")
            self.take("denoise", base, "denoise")
            return
        total = to_integer(self.graph.value(base, "steps"))
        start = to_integer(self.graph.value(base, "start_at_step"))
        end = to_integer(self.graph.value(base, "end_at_step"))
        if total is None or start is None or not 0 <= start < total:
            self.draft.warn(f"{base} does not say how many steps it ran")
            return
        remaining = total - start
        handed_on = self.graph.value(base, "return_with_leftover_noise") == "enable"
        # What is left over is run by the next sampler, Distillery's refiner for one: the steps of both count.
        steps = remaining if handed_on or end is None else max(min(end, total) - start, 0)
        where = self.place(base, "steps, start_at_step")
        self.draft.set("steps", steps, where)
        self.draft.set("denoise", denoise_for(remaining, total), where)
        for node in picture:
            if self.continues(node, base):
                self.draft.warn(f"{node} ran the last steps with a refiner: the HiRes pass does not use it")

    def continues(self, node: Node, base: Node) -> bool:
        """Whether a sampler runs the rest of the base's steps, with another model."""
        return (
            node is not base and node.class_type == "KSamplerAdvanced"
            and self.graph.value(node, "add_noise") == "disable"
            and self.graph.input(node, "model") != self.graph.input(base, "model")
        )  # fmt: skip

    def size(self, base: Node) -> None:
        """Width and height of the first pass: of its empty latent, or of the image that it starts from."""
        for node in self.upstream(base)[1:]:
            if "width" in node.inputs and "height" in node.inputs:
                width, height = (to_integer(self.graph.value(node, side)) for side in ("width", "height"))
                if width and height:  # ImageScale takes 0 for "keep the proportions"
                    self.draft.set("width", width, self.place(node, "width"))
                    self.draft.set("height", height, self.place(node, "height"))
                return
            if node.class_type not in _KEEP_SIZE:
                return

    # the HiRes pass

    def hires(self, base: Node, picture: list[Node]) -> None:
        passes = [
            node for node in picture
            if self.is_sampler(node) and not (node.class_type in SAMPLERS and (node is base or self.is_split(node)))
        ]  # fmt: skip
        if not passes:
            return
        tiled = [node for node in passes if node.class_type in TILED_UPSCALERS]
        node = (tiled or passes)[-1]
        if len(passes) > 1:
            self.draft.warn(f"the image had several passes after the first: {node} is read as its HiRes pass")
        if node.class_type == "KSamplerAdvanced":
            total, start = (to_integer(self.graph.value(node, name)) for name in ("steps", "start_at_step"))
            if total and start is not None and 0 <= start < total:
                self.draft.set("hires.steps", total - start, self.place(node, "steps, start_at_step"))
                self.draft.set("hires.denoise", denoise_for(total - start, total), self.place(node, "start_at_step"))
        else:
            self.take("hires.steps", node, "steps")
            self.take("hires.denoise", node, "denoise")
        if node in tiled:
            sides = [to_integer(self.graph.value(node, name)) for name in ("tile_width", "tile_height")]
            if sides[0] and sides[1]:
                self.draft.set("hires.tile", max(sides[0], sides[1]), self.place(node, "tile_width"))
            if "upscale_by" in node.inputs:
                self.take("hires.scale", node, "upscale_by")
        self.upscaler(node)

    def is_split(self, node: Node) -> bool:
        """Whether a sampler only goes on where the one before it stopped."""
        return node.class_type == "KSamplerAdvanced" and self.graph.value(node, "add_noise") == "disable"

    def upscaler(self, node: Node) -> None:
        """The upscale model between the passes, and the scale where it can be told."""
        for step in [node, *self.upstream(node)[1:]]:
            if step is not node and self.is_sampler(step):
                break
            if (model := self.graph.input(step, "upscale_model")) and "model_name" in model[0].inputs:
                self.take("hires.upscaler", model[0], "model_name")
            elif step.class_type == "LatentUpscaleBy":
                self.take("hires.scale", step, "scale_by")
            elif step.class_type in ("LatentUpscale", "ImageScale") and self.draft.has("width"):
                width = to_number(self.graph.value(step, "width"))
                base = self.draft.build("").width
                if width and base:
                    self.draft.set("hires.scale", width / base, self.place(step, "width"))

    def post_processing(self, picture: list[Node]) -> None:
        for node in picture:
            if self.is_sampler(node):
                break
            # Distillery's own sharpening; any other kernel is another thing under the same name.
            kernel = [to_number(self.graph.value(node, name)) for name in ("sharpen_radius", "sigma")]
            if node.class_type == "ImageSharpen" and kernel == [1, 0.5]:
                self.take("sharpen", node, "alpha")

    # prompts

    def prompt(self, base: Node, name: str) -> Node | None:
        """Set a prompt; returns the node that encodes it."""
        texts: list[tuple[str, str]] = []
        encoders: list[Node] = []
        complete = self.conditioning(self.graph.input(base, name), name, texts, encoders, set())
        if not complete and not texts:
            self.draft.warn(f"the {name} prompt could not be read from the graph")
        if len(texts) > 1:
            self.draft.warn(f"the {name} prompt is put together from {len(texts)} texts, which are joined by commas")
        if texts:
            joined = ", ".join(text for text, _ in texts if text)
            self.draft.set(name, joined, ", ".join(place for _, place in texts[:4]))
        return encoders[0] if encoders else None

    def conditioning(
        self,
        source: tuple[Node, int] | None,
        side: str,
        texts: list[tuple[str, str]],
        encoders: list[Node],
        visited: set[tuple[str, int]],
    ) -> bool:
        """Collect the texts behind a conditioning output; False where some cannot be told."""
        todo = [source]
        complete = True
        while todo:
            source = todo.pop(0)
            if source is None:
                complete = False
                continue
            node, slot = source
            if (node.id, slot) in visited or len(visited) >= MAX_CONDITIONINGS:
                continue
            visited.add((node.id, slot))
            kind = node.class_type
            if kind in _ENCODERS:
                encoders.append(node)
                found = dict.fromkeys(self.text(node, name, side) for name in _ENCODERS[kind] if name in node.inputs)
                known = [text for text in found if text is not None]
                texts += [(text, self.place(node, _ENCODERS[kind][0])) for text in known]
                complete = complete and bool(known)
            elif kind == "ConditioningZeroOut":
                texts.append(("", self.place(node)))
            elif kind in _CONTROLNETS:
                self.draft.warn(f"the image was made with a ControlNet ({node}), which the HiRes pass does not use")
                names = ("positive", "negative") if "positive" in node.inputs else ("conditioning",)
                todo.append(self.graph.input(node, names[slot]) if 0 <= slot < len(names) else None)
            elif kind in ("ConditioningCombine", "ConditioningConcat"):
                todo += [self.graph.input(node, name) for name in _JOINED if name in node.inputs]
            elif kind.startswith("BNK_CutoffRegionsToConditioning"):
                complete = self.cutoff(node, side, texts, encoders) and complete
            elif self.graph.link(node, "conditioning"):
                self.draft.warn(f"{node} changes the {side} prompt's conditioning: what it does is not kept")
                todo.append(self.graph.input(node, "conditioning"))
            else:
                self.draft.warn(f"the {side} prompt comes from {node}, which is not known here")
                complete = False
        return complete

    def text(self, node: Node, name: str, side: str) -> str | None:
        value = self.graph.value(node, name)
        if isinstance(value, str):
            return value
        culprit = self.graph.culprit(node, name)
        source = f"comes from {culprit}, which is not known here" if culprit else "is no text"
        self.draft.warn(f"{node}.{name} {source}: this part of the {side} prompt is not recalled")
        return None

    def cutoff(self, node: Node, side: str, texts: list[tuple[str, str]], encoders: list[Node]) -> bool:
        triples: list[tuple[Any, ...]] = []
        source = self.graph.input(node, "clip_regions")
        for _ in range(MAX_CHAIN):
            if source is None:
                return False
            step = source[0]
            if step.class_type == "BNK_CutoffBasePrompt":
                regions = used_regions(reversed(triples))
                if regions:
                    self.draft.carried["cutoff"] = regions
                    self.draft.warn(NOT_APPLIED)
                text = self.text(step, "text", side)
                if text is not None:
                    texts.append((text, self.place(step, "text")))
                    encoders.append(step)
                return text is not None
            if step.class_type != "BNK_CutoffSetRegions":
                self.draft.warn(f"the {side} prompt comes from {step}, which is not known here")
                return False
            triples.append(tuple(self.graph.value(step, name) for name in ("region_text", "target_text", "weight")))
            source = self.graph.input(step, "clip_regions")
        return False

    # models

    def chain(self, source: tuple[Node, int] | None, kind: str, what: str) -> _Chain:
        """Follow ``model`` or ``clip`` inputs back to a checkpoint."""
        found = _Chain()
        visited: set[str] = set()
        while source is not None and source[0].id not in visited and len(visited) < MAX_CHAIN:
            node = source[0]
            visited.add(node.id)
            if node.class_type in CHECKPOINT_LOADERS:
                found.checkpoint = node
                return found
            if node.class_type in LORA_LOADERS:
                found.loras.insert(0, node)
            elif kind == "clip" and node.class_type == "CLIPSetLastLayer":
                # The one nearest to the encoder has the last word.
                if found.clip_skip is None:
                    layer = to_integer(self.graph.value(node, "stop_at_clip_layer"))
                    found.clip_skip = (None if layer is None else -layer, self.place(node, "stop_at_clip_layer"))
            elif self.graph.link(node, kind):
                self.draft.warn(
                    f"{node} lies between {what} and the checkpoint: what it does to the {kind} is not kept"
                )
            else:
                self.draft.warn(f"{what} has its {kind} from {node}, which is not read here")
                return found
            source = self.graph.input(node, kind)
        self.draft.warn(f"{what}: its {kind} leads to no checkpoint")
        return found

    def models(self, base: Node, encoders: list[Node]) -> None:
        model = self.chain(self.graph.input(base, "model"), "model", str(base))
        clips = {
            encoder.id: self.chain(self.graph.input(encoder, "clip"), "clip", str(encoder)) for encoder in encoders
        }
        clip = next(iter(clips.values()), _Chain())
        if model.checkpoint:
            self.take("checkpoint", model.checkpoint, "ckpt_name")
            if clip.checkpoint and clip.checkpoint.id != model.checkpoint.id:
                self.draft.warn(f"the text encoder comes from another checkpoint ({clip.checkpoint}): it is not kept")
        if any(c.loras != clip.loras or c.clip_skip != clip.clip_skip for c in clips.values()):
            self.draft.warn("positive and negative prompt have different text encoders: the positive's is kept")
        if clip.clip_skip:
            layers, place = clip.clip_skip
            self.draft.set("clip_skip", layers, place)
            if layers is None:
                self.draft.warn(f"{place} could not be read: the last layer of the text encoder is used")
        if model.checkpoint or model.loras or clip.loras:
            self.loras(base, model, clip)

    def loras(self, base: Node, model: _Chain, clip: _Chain) -> None:
        chain = list(model.loras)
        on_model, on_clip = {node.id for node in model.loras}, {node.id for node in clip.loras}
        chain += [node for node in clip.loras if node.id not in on_model]
        entries = []
        for node in chain:
            both = LORA_LOADERS[node.class_type]
            strengths = [
                self.graph.value(node, "strength_model"),
                self.graph.value(node, "strength_clip") if both else 0.0,
            ]
            # A loader acts only on the way that it lies on.
            if model.checkpoint and node.id not in on_model:
                strengths[0] = 0.0
            if both and clip.checkpoint and node.id not in on_clip:
                if to_number(strengths[1]):
                    self.draft.warn(f"{node} does not reach the text encoder: its strength there is 0")
                strengths[1] = 0.0
            entries.append((self.graph.value(node, "lora_name"), strengths[0], strengths[1], self.place(node)))
        self.draft.set_loras(entries, self.place(base, "model"))

    def vae(self, base: Node, picture: list[Node]) -> None:
        """The VAE that decodes the first pass, else the one of the HiRes pass."""
        later = self.downstream([base], picture) | {base.id}
        for node in reversed(picture):
            source = self.graph.input(node, "vae")
            decodes = "samples" in node.inputs or node.class_type in TILED_UPSCALERS
            if source is None or not decodes or node.id not in later:
                continue
            loader = source[0]
            if loader.class_type == "VAELoader":
                self.take("vae", loader, "vae_name")
            elif loader.class_type in CHECKPOINT_LOADERS:
                self.draft.note("vae", f"{self.place(node, 'vae')}: the checkpoint's own")
                own = self.draft.build("").checkpoint
                if own is not None and self.graph.value(loader, "ckpt_name") != own:
                    self.draft.warn(f"the VAE comes from another checkpoint ({loader}): it is not kept")
            else:
                self.draft.warn(f"the VAE comes from {loader}, which is not known here: it is not kept")
            return


def denoise_for(steps: int, total: int) -> float:
    """The denoise with the fewest digits at which KSampler runs ``steps`` steps as the tail of ``total``.

    KSampler makes a schedule of int(steps / denoise) steps and runs its end.
    """
    if steps >= total:
        return 1.0
    for digits in range(1, 6):
        denoise = round(steps / total, digits)
        if 0 < denoise <= 1 and int(steps / denoise) == total:
            return denoise
    return steps / total


_ENCODERS = {
    "CLIPTextEncode": ("text",),
    "CLIPTextEncodeSDXL": ("text_g", "text_l"),
    "CLIPTextEncodeSDXLRefiner": ("text",),
}
_CONTROLNETS = {"ControlNetApply", "ControlNetApplyAdvanced", "ControlNetApplySD3", "ACN_AdvancedControlNetApply"}
_JOINED = ("conditioning_1", "conditioning_2", "conditioning_to", "conditioning_from")
_KEEP_SIZE = {
    "VAEEncode", "VAEEncodeTiled", "SetLatentNoiseMask", "RepeatLatentBatch", "LatentFromBatch",
    "CR Latent Batch Size",
}  # fmt: skip
"""Nodes between the first sampler and where its size is set, which leave the size as it is."""
