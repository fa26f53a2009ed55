"""Expand composite nodes into ComfyUI's own.

The walk then needs to know only these. Expanded nodes keep the name of the composite in the file, so that
provenance and warnings name a node which the user sees.
"""

from __future__ import annotations

from ..graph import Graph
from ..passthrough import EASY_PIPE
from .expansion import Expansion, Rule
from .loaders import easy_loader, efficient_loader, efficient_loader_sdxl, preset_latent
from .loras import lora_list, managed_loras, numbered_loras, power_loras, switched_lora, tagged
from .samplers import (  # fmt: skip
    BASIC_NAMES,
    BASIC_PIPE,
    EASY_NAMES,
    efficient_sampler,
    efficient_sampler_sdxl,
    pipe_sampler,
    renamed_sampler,
)

MAX_ADDED_NODES = 20_000
"""Limit of one graph."""


def expand(graph: Graph) -> bool:
    """Expand all composite nodes of a graph; False if it needs more nodes than are added."""
    order = {name: i for i, name in enumerate(COMPOSITES)}  # a sampler asks what its loader gives
    nodes = sorted(
        (node for node in graph.nodes.values() if node.class_type in order), key=lambda n: order[n.class_type]
    )
    added = 0
    for node in nodes:
        if added > MAX_ADDED_NODES:
            return False
        expansion = Expansion(graph, node)
        COMPOSITES[node.class_type](expansion, node)
        graph.replace(node, expansion.slots)
        added += expansion.added
    return True


COMPOSITES: dict[str, Rule] = {
    # LoRAs
    "Power Lora Loader (rgthree)": lora_list(power_loras),
    "Lora Loader Stack (rgthree)": lora_list(
        lambda node: numbered_loras(node, "lora_{}", "strength_{}", "strength_{}")
    ),
    "Lora Loader (LoraManager)": lora_list(managed_loras),
    "CR Apply LoRA Stack": lora_list(lambda node: iter(())),
    "easy loraStackApply": lora_list(lambda node: iter(()), clip="optional_clip"),
    "CR Load LoRA": switched_lora,
    "Load Lora": switched_lora,
    "Lora Loader": switched_lora,
    "LoraTagLoader": tagged(("text",), "model", "clip", (None, 0, 1, 2)),
    "ImpactWildcardEncode": tagged(("populated_text",), "model", "clip", (2, 0, 1, 3)),
    "Power Prompt (rgthree)": tagged(("prompt",), "opt_model", "opt_clip", (0, 1, 2, 3)),
    "SDXL Power Prompt - Positive (rgthree)": tagged(("prompt_g", "prompt_l"), "opt_model", "opt_clip", (0, 1, 2, 3)),
    # loaders of everything
    "Efficient Loader": efficient_loader,
    "Eff. Loader SDXL": efficient_loader_sdxl,
    "easy fullLoader": easy_loader,
    "easy a1111Loader": easy_loader,
    "easy comfyLoader": easy_loader,
    # samplers
    "KSampler (Efficient)": efficient_sampler,
    "KSampler Adv. (Efficient)": efficient_sampler,
    "KSampler SDXL (Eff.)": efficient_sampler_sdxl,
    "KSampler (WAS)": renamed_sampler("KSampler", {}),
    "KSamplerVariationsWithNoise+": renamed_sampler("KSampler", {"seed": "main_seed"}),
    "ImpactKSamplerBasicPipe": pipe_sampler("basic_pipe", BASIC_PIPE, BASIC_NAMES),
    "ImpactKSamplerAdvancedBasicPipe": pipe_sampler("basic_pipe", BASIC_PIPE, BASIC_NAMES, "KSamplerAdvanced"),
    "easy kSampler": pipe_sampler("pipe", EASY_PIPE, EASY_NAMES),
    "easy fullkSampler": pipe_sampler("pipe", EASY_PIPE, EASY_NAMES),
    # sizes
    "CR SDXL Aspect Ratio": preset_latent("aspect_ratio", latent=4, width=0, height=1),
    "CR SD1.5 Aspect Ratio": preset_latent("aspect_ratio", latent=4, width=0, height=1),
    "CR Aspect Ratio": preset_latent("aspect_ratio", latent=5, width=0, height=1),
    "SDXLEmptyLatentSizePicker+": preset_latent("resolution", latent=0, width=1, height=2),
    "SDXL Empty Latent Image (rgthree)": preset_latent("dimensions", latent=0, width=1, height=2),
    "EmptyLatentImagePresets": preset_latent("dimensions", latent=0, width=1, height=2),
}
"""Composite nodes and their rules. The slots that a rule does not set lead nowhere."""
