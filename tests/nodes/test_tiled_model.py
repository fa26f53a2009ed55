"""Tiled denoising inside the real ComfyUI, with small networks whose tiled and untiled results must agree."""

from __future__ import annotations

import types
import uuid
from typing import Any

import pytest
import torch

from distillery.nodes.errors import DistilleryError
from distillery.nodes.model_files import mini
from distillery.nodes.tiling.model import KEY, TilingError, _batches, auto_tile, tile_model
from distillery.nodes.tiling.tiles import add_tile, crop, plan, weights

WIDTH, HEIGHT = 40, 28  # latent cells; tiles of 16 with an overlap of 4 are three columns and two rows
TILE, OVERLAP = 128, 32  # pixels


class Pointwise(torch.nn.Module):
    """Predicts each cell from that cell, its extra channels, the prompt and the control: tiles change nothing."""

    dtype = torch.float32

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[dict[str, Any]] = []

    def forward(
        self, x, timesteps, context, control=None, transformer_options=None, y=None, ref_latents=None, **kwargs
    ):
        self.calls.append({"shape": tuple(x.shape), "uuids": transformer_options["uuids"], "y": y})
        out = 0.3 * x[:, :4] + torch.sin(7 * context.mean((1, 2)))[:, None, None, None] + timesteps[0] / 1000
        if x.shape[1] > 4:
            out = out + x[:, 4:].mean(1, keepdim=True)
        for extra in (control or {}).get("output", []):
            out = out + extra
        for reference in ref_latents or []:
            out = out + (reference if reference.shape[-2:] == x.shape[-2:] else reference.mean((2, 3), keepdim=True))
        for patch in transformer_options.get("patches", {}).get("middle_patch", []):
            out = patch(out, {"transformer_index": 0})
        if transformer_options.get("patches_replace", {}).get("attn1"):
            out = out / 2
        return torch.tanh(out)


class Convolution(Pointwise):
    """Looks three cells far."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = torch.nn.Sequential(*(torch.nn.Conv2d(4, 4, 3, padding=1) for _ in range(3)))

    def forward(self, x, timesteps, context, **kwargs):
        return self.layers(super().forward(x, timesteps, context, **kwargs)).detach()


def make_model(comfy, network: torch.nn.Module, family: str = "SD15") -> Any:
    """A ModelPatcher of ComfyUI's own model class around ``network``."""
    config_class = getattr(comfy.supported_models, family)
    config = config_class({**config_class.unet_config, "disable_unet_model_creation": True, "in_channels": 4})
    model_class = {"SDXL": comfy.model_base.SDXL, "SDXLRefiner": comfy.model_base.SDXLRefiner}.get(
        family, comfy.model_base.BaseModel
    )
    inner = model_class(config)
    inner.diffusion_model = network
    cpu = torch.device("cpu")
    return comfy.model_patcher.ModelPatcher(inner, load_device=cpu, offload_device=cpu)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def prompt(seed: int, batch: int = 1, **more: Any) -> list[list[Any]]:
    return [[random(batch, 77, 16, seed=seed), more]]


def sample(comfy, model, positive, negative, batch: int = 1, sampler: str = "euler", **more: Any) -> torch.Tensor:
    latent = random(batch, 4, HEIGHT, WIDTH, seed=5)
    noise = comfy.sample.prepare_noise(latent, 7)
    return comfy.sample.sample(
        model, noise, 3, 6.0, sampler, "karras", positive, negative, latent,
        denoise=0.5, seed=7, disable_pbar=True, **more,
    )  # fmt: skip


def assert_tiled_like_untiled(comfy, model, positive, negative, tiles: int = 0, **more: Any) -> torch.Tensor:
    network = model.model.diffusion_model
    untiled = sample(comfy, model, positive, negative, **more)
    assert max(call["shape"][-1] for call in network.calls) <= WIDTH
    network.calls.clear()
    tiled = sample(comfy, tile_model(model, TILE, OVERLAP, tiles), positive, negative, **more)
    assert max(max(call["shape"][-2:]) for call in network.calls) <= 16
    torch.testing.assert_close(tiled, untiled, rtol=1e-4, atol=1e-4)
    return untiled


def entry(comfy, seed: int = 0, **model_conds: Any) -> dict[str, Any]:
    """A cond as it reaches a denoising step."""
    text = comfy.conds.CONDCrossAttn(random(1, 77, 16, seed=seed))
    return {"model_conds": {"c_crossattn": text, **model_conds}, "uuid": uuid.uuid4()}


def predict(comfy, model, conds, x) -> list[torch.Tensor]:
    """One denoising step's predictions."""
    model.model.current_patcher = model
    options = {**model.model_options}
    options["transformer_options"] = {**options.get("transformer_options", {}), "wrappers": model.wrappers}
    return comfy.samplers.calc_cond_batch(model.model, conds, x, torch.full((x.shape[0],), 2.0), options)


@pytest.mark.parametrize("tiles", [0, 4])
@pytest.mark.parametrize(("images", "prompts"), [(1, 1), (2, 1), (2, 2), (3, 2)])
def test_tiled_equals_untiled_for_batches_of_images_and_of_tiles(comfy, tiles, images, prompts):
    model = make_model(comfy, Pointwise())
    assert_tiled_like_untiled(
        comfy, model, prompt(1, prompts), prompt(2, prompts), tiles, batch=images, sampler="uni_pc"
    )
    most = max(call["shape"][0] for call in model.model.diffusion_model.calls)
    # Six tiles by four are two batches of three, each for the prompt and the negative.
    assert most == images * 2 * (3 if tiles else 1)


def test_a_convolution_is_exact_where_a_tile_is_alone_and_close_in_overlaps(comfy):
    model = make_model(comfy, Convolution())
    x = random(1, 4, HEIGHT, WIDTH)
    conds = [[entry(comfy, 1)], [entry(comfy, 2)]]
    untiled = predict(comfy, model, conds, x)
    tiled = predict(comfy, tile_model(model, TILE, OVERLAP), conds, x)
    # Columns 0, 12, 24 and rows 0, 12 of 16 cells: 12..16, 24..28 and rows 12..16 are shared. The network looks as far
    # as three cells, an overlap has four: no cell outside of overlaps knows of a tile's edge.
    alone = torch.ones(HEIGHT, WIDTH, dtype=torch.bool)
    alone[:, 12:16] = alone[:, 24:28] = False
    alone[12:16] = False
    for one, other in zip(tiled, untiled, strict=True):
        torch.testing.assert_close(one[..., alone], other[..., alone], rtol=1e-5, atol=1e-5)
        apart = (one - other).abs()[..., ~alone]
        assert 0 < apart.mean() < 0.05 * other.std()


def test_a_canvas_that_one_tile_covers_is_bit_for_bit_the_untiled_one(comfy):
    model = make_model(comfy, Convolution())
    conds = [[entry(comfy, 1)], None]
    x = random(2, 4, HEIGHT, WIDTH)
    tiled = tile_model(model, 8 * WIDTH, OVERLAP)
    assert all(map(torch.equal, predict(comfy, tiled, conds, x), predict(comfy, model, conds, x)))
    assert all(map(torch.equal, predict(comfy, tile_model(model, 0, 0), conds, x), predict(comfy, model, conds, x)))


def test_without_guidance_the_negative_stays_unasked(comfy):
    model = make_model(comfy, Pointwise())
    x = random(1, 4, HEIGHT, WIDTH)
    positive, negative = predict(comfy, tile_model(model, TILE, OVERLAP), [[entry(comfy)], None], x)
    assert not negative.any()
    torch.testing.assert_close(positive, predict(comfy, model, [[entry(comfy)], None], x)[0])
    assert all(call["shape"][0] == 1 for call in model.model.diffusion_model.calls)


@pytest.mark.parametrize(
    "area",
    [
        (10, 20, 9, 3),  # cells: height, width, y, x; begins and ends within tiles
        (16, 16, 12, 12),  # exactly a tile: its edges stay soft
        (28, 17, 0, 0),  # one column of cells reaches beyond the first overlap
        (3, 3, 13, 13),
        ("percentage", 0.5, 0.4, 0.3, 0.6),
    ],
)
def test_areas_keep_their_place_and_their_soft_edges(comfy, area):
    model = make_model(comfy, Pointwise())
    # A mask's strength without a mask is of no account in ComfyUI, and must not become so in a tile.
    regional = prompt(3, area=area, strength=0.7, mask_strength=0.2)
    assert_tiled_like_untiled(comfy, model, prompt(1) + regional, prompt(2), tiles=4, batch=2)


def test_an_area_cut_by_a_tile_still_gives_the_model_enough_to_look_at(comfy):
    model = make_model(comfy, Pointwise())
    regional = {**entry(comfy, 3), "area": (28, 17, 0, 0)}
    predict(comfy, tile_model(model, TILE, OVERLAP), [[regional]], random(1, 4, HEIGHT, WIDTH))
    shapes = [call["shape"][-2:] for call in model.model.diffusion_model.calls]
    assert shapes == [(16, 16)] * 4, "the third column of tiles lies outside; the second has five columns of the area"


@pytest.mark.parametrize("bounds", [False, True])
@pytest.mark.parametrize("masks", [1, 2])
def test_masks_keep_their_place(comfy, bounds, masks):
    model = make_model(comfy, Pointwise())
    mask = torch.zeros(masks, 8 * HEIGHT, 8 * WIDTH)
    mask[:, 50:150, 40:250] = torch.rand(masks, 100, 210, generator=torch.Generator().manual_seed(1))
    regional = prompt(3, mask=mask, mask_strength=0.8, set_area_to_bounds=bounds)
    assert_tiled_like_untiled(comfy, model, prompt(1) + regional, prompt(2), tiles=4, batch=2)


def test_a_default_prompt_fills_what_masks_leave(comfy):
    model = make_model(comfy, Pointwise())
    mask = torch.zeros(1, 8 * HEIGHT, 8 * WIDTH)
    mask[:, :100, :130] = 1
    positive = prompt(3, mask=mask, set_area_to_bounds=False) + prompt(1, default=True)
    assert_tiled_like_untiled(comfy, model, positive, prompt(2))


def test_prompts_that_do_not_reach_a_tile_do_not_run_there(comfy):
    model = make_model(comfy, Pointwise())
    mask = torch.zeros(1, HEIGHT, WIDTH)
    mask[:, :8, :8] = 1
    regional = {**entry(comfy, 3), "mask": mask}
    predict(comfy, tile_model(model, TILE, OVERLAP), [[entry(comfy, 1), regional]], random(1, 4, HEIGHT, WIDTH))
    assert sorted(call["shape"][0] for call in model.model.diffusion_model.calls) == [1, 1, 1, 1, 1, 2]


class HintPerCell(torch.nn.Module):
    """A ControlNet, or a T2I-Adapter, that gives each cell the mean of the hint's pixels in it."""

    dtype = torch.float32
    unshuffle_amount = 8

    def __init__(self, cell: int = 8) -> None:
        super().__init__()
        self.cell = cell
        self.hints: list[torch.Tensor] = []

    def forward(self, x=None, hint=None, **kwargs):
        hint = x if hint is None else hint
        self.hints.append(hint)
        return {"output": [torch.nn.functional.avg_pool2d(hint, self.cell).mean(1, keepdim=True)]}


class Pixels:
    """A VAE of eight by eight pixels a cell that averages; ComfyUI asks no more of a control's VAE."""

    encoded = 0

    def spacial_compression_encode(self) -> int:
        return 8

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        self.encoded += 1
        return torch.nn.functional.avg_pool2d(pixels.movedim(-1, 1), 8)


def controlnet(comfy, seed: int = 11, **more: Any) -> Any:
    control = comfy.controlnet.ControlNet(HintPerCell(), load_device=torch.device("cpu"), **more)
    # Neither the size nor the shape of the canvas: ComfyUI scales and crops hints to it.
    return control.set_cond_hint(random(1, 3, 300, 350, seed=seed), 0.9)


def adapter(comfy) -> Any:
    control = comfy.controlnet.T2IAdapter(HintPerCell(), 3, 8, "nearest-exact", device=torch.device("cpu"))
    return control.set_cond_hint(random(1, 3, 8 * HEIGHT, 8 * WIDTH, seed=12), 0.8)


def latent_controlnet(comfy) -> Any:
    latent_format = comfy.latent_formats.LatentFormat()
    control = comfy.controlnet.ControlNet(
        HintPerCell(1), load_device=torch.device("cpu"),
        compression_ratio=1, latent_format=latent_format, concat_mask=True,
    )  # fmt: skip
    mask = random(1, 1, 200, 300, seed=14)
    return control.set_cond_hint(random(1, 3, 300, 350, seed=13), 0.9, vae=Pixels(), extra_concat=[mask])


@pytest.mark.parametrize("make", [controlnet, adapter, latent_controlnet])
@pytest.mark.parametrize("images", [1, 2])
def test_control_hints_are_cropped_to_tiles(comfy, make, images):
    model = make_model(comfy, Pointwise())
    control = make(comfy)
    positive, negative = prompt(1, control=control), prompt(2, control=control)
    untiled = assert_tiled_like_untiled(comfy, model, positive, negative, tiles=4, batch=images)
    assert not torch.allclose(untiled, sample(comfy, model, prompt(1), prompt(2), batch=images), atol=0.01)


def test_chains_of_controls_are_cropped_whole(comfy):
    model = make_model(comfy, Pointwise())
    control = controlnet(comfy).set_previous_controlnet(adapter(comfy).set_previous_controlnet(controlnet(comfy, 15)))
    untiled = assert_tiled_like_untiled(comfy, model, prompt(1, control=control), prompt(2, control=control))
    assert not torch.allclose(untiled, sample(comfy, model, prompt(1, control=controlnet(comfy)), prompt(2)), atol=0.01)


def test_a_control_for_part_of_the_steps_starts_and_ends_with_them(comfy):
    model = make_model(comfy, Pointwise())
    control = controlnet(comfy)
    control.timestep_percent_range = (0.0, 0.75)
    assert_tiled_like_untiled(comfy, model, prompt(1, control=control), prompt(2))


def test_within_an_area_the_hint_covers_the_area(comfy):
    model = make_model(comfy, Pointwise())
    regional = prompt(3, area=(20, 24, 4, 10), control=controlnet(comfy))
    assert_tiled_like_untiled(comfy, model, prompt(1) + regional, prompt(2))


def test_hints_are_prepared_once_for_each_tile_and_let_go_of_in_the_end(comfy):
    model = tile_model(make_model(comfy, Pointwise()), TILE, OVERLAP)
    control = latent_controlnet(comfy)
    sample(comfy, model, prompt(1, control=control), prompt(2, control=control))
    assert control.vae.encoded == 6, "six tiles, three steps"
    wrapper = model.get_wrappers(comfy.patcher_extension.WrappersMP.CALC_COND_BATCH, KEY)[0]
    assert not wrapper.__self__.hints._parts
    assert control.cond_hint is None


def test_a_hint_that_is_averaged_stays_whole(comfy):
    model = tile_model(make_model(comfy, Pointwise()), TILE, OVERLAP)
    control = controlnet(comfy, global_average_pooling=True)
    control.set_cond_hint(random(1, 3, 128, 128, seed=3))
    sample(comfy, model, prompt(1, control=control), prompt(2, control=control))
    assert all(torch.equal(hint[:1], control.cond_hint_original) for hint in control.control_model.hints)


def test_methods_put_on_a_control_object_work_on_the_crop(comfy):
    """As packs do that extend ControlNets."""
    model = make_model(comfy, Pointwise())
    control = controlnet(comfy)
    stock = type(control).get_control
    control.get_control = (lambda self, *args: stock(self, *args)).__get__(control)
    assert_tiled_like_untiled(comfy, model, prompt(1, control=control), prompt(2, control=control))


@pytest.mark.parametrize("tiles", [0, 4])
def test_inpainting_models_get_their_mask_and_picture_cropped(comfy, tiles):
    model = make_model(comfy, Pointwise())
    model.model.set_inpaint()
    mask = torch.zeros(1, 1, 8 * HEIGHT, 8 * WIDTH)
    mask[..., 60:180, 50:200] = 1
    picture = random(1, 4, HEIGHT, WIDTH, seed=21)
    positive, negative = (prompt(i, concat_latent_image=picture, concat_mask=mask) for i in (1, 2))
    assert_tiled_like_untiled(comfy, model, positive, negative, tiles, batch=2, noise_mask=mask)
    assert all(call["shape"][1] == 9 for call in model.model.diffusion_model.calls)


@pytest.mark.parametrize("family", ["SDXL", "SDXLRefiner"])
def test_sdxl_learns_which_crop_of_the_canvas_a_tile_is(comfy, family):
    model = make_model(comfy, Pointwise(), family)
    pooled = random(1, 1280, seed=4)
    sample(comfy, tile_model(model, TILE, OVERLAP, 3), prompt(1, pooled_output=pooled), prompt(2, pooled_output=pooled))
    y = model.model.diffusion_model.calls[0]["y"]
    # Three tiles of the first row for the negative, then for the positive prompt.
    for i in range(6):
        expected = model.model.encode_adm(
            pooled_output=pooled, width=8 * WIDTH, height=8 * HEIGHT, crop_w=8 * 12 * (i % 3), crop_h=0,
            target_width=128, target_height=128, prompt_type="negative" if i < 3 else "positive",
        )  # fmt: skip
        torch.testing.assert_close(y[i : i + 1], expected)


def test_sizes_that_the_prompt_names_stay(comfy):
    model = make_model(comfy, Pointwise(), "SDXL")
    sizes = {"width": 4096, "height": 4096, "crop_w": 0, "crop_h": 0, "target_width": 4096, "target_height": 4096}
    named = {"pooled_output": random(1, 1280, seed=4), **sizes}
    sample(comfy, tile_model(model, TILE, OVERLAP), prompt(1, **named), prompt(2, **named))
    expected = model.model.encode_adm(**named)
    assert all(torch.equal(call["y"], expected.repeat(2, 1)) for call in model.model.diffusion_model.calls)


def test_each_tile_keeps_its_own_uuids_over_the_steps(comfy):
    """EasyCache keeps differences by uuid: those of one tile must not reach another."""
    model = make_model(comfy, Pointwise())
    sample(comfy, tile_model(model, TILE, OVERLAP), prompt(1), prompt(2))
    calls = [tuple(call["uuids"]) for call in model.model.diffusion_model.calls]
    assert len(calls) == 18
    assert calls[:6] == calls[6:12] == calls[12:]
    assert len({one for call in calls for one in call}) == 12


def test_easycache_reuses_each_tiles_own_result(comfy):
    from comfy_extras.nodes_easycache import EasyCacheNode

    extension = comfy.patcher_extension

    class Wrapped(Pointwise):
        """Runs the wrappers around the network, as ComfyUI's UNet does."""

        def forward(self, x, timesteps, context, control=None, transformer_options=None):
            wrappers = extension.get_all_wrappers(extension.WrappersMP.DIFFUSION_MODEL, transformer_options)
            executor = extension.WrapperExecutor.new_class_executor(self.predict, self, wrappers)
            return executor.execute(x, timesteps, context, None, control, transformer_options)

        def predict(self, x, timesteps, context, y, control, transformer_options):
            return super().forward(x, timesteps, context, control, transformer_options)

    # A threshold that reuses whatever can be reused: the same steps for the canvas and for tiles.
    cached = EasyCacheNode.execute(make_model(comfy, Wrapped()), 1e9, 0.0, 1.0, False).result[0]
    latent, noise = torch.zeros(1, 4, HEIGHT, WIDTH), random(1, 4, HEIGHT, WIDTH)

    def run(model):
        network = model.model.diffusion_model
        network.calls.clear()
        picture = comfy.sample.sample(
            model, noise, 6, 6.0, "euler", "normal", prompt(1), prompt(2), latent, seed=7, disable_pbar=True
        )
        return picture, len(network.calls)

    untiled, steps = run(cached)
    assert steps < 6, "nothing was reused"
    tiled, tile_steps = run(tile_model(cached, TILE, OVERLAP))
    assert tile_steps == 6 * steps
    torch.testing.assert_close(tiled, untiled, rtol=1e-4, atol=1e-4)


def test_comfyui_frees_memory_for_a_tile_not_for_the_canvas(comfy):
    model = make_model(comfy, Pointwise())
    asked: list[list[int]] = []
    stock = model.model.memory_required
    model.model.memory_required = lambda shape, **more: (asked.append(list(shape)), stock(shape, **more))[1]
    sample(comfy, model, prompt(1), prompt(2), batch=2)
    assert asked[:2] == [[4, 4, HEIGHT, WIDTH], [2, 4, HEIGHT, WIDTH]]
    asked.clear()
    sample(comfy, tile_model(model, TILE, OVERLAP), prompt(1), prompt(2), batch=2)
    assert asked[:2] == [[4, 4, 16, 16], [2, 4, 16, 16]]
    assert all(shape[-2:] == [16, 16] for shape in asked)
    asked.clear()
    sample(comfy, tile_model(model, TILE, OVERLAP, 3), prompt(1), prompt(2))
    assert asked[:2] == [[6, 4, 16, 16], [3, 4, 16, 16]]


@pytest.mark.parametrize(("free", "size"), [(1e12, 4), (1e11, 3), (1e10, 1)])
def test_on_a_gpu_as_many_tiles_run_at_once_as_fit(comfy, free, size, monkeypatch):
    model = make_model(comfy, Pointwise())
    tiled = tile_model(model, TILE, OVERLAP)
    model.model.current_patcher = tiled
    # 1e10 bytes an image, two prompts a tile, half again as margin: 3e10 bytes a tile.
    monkeypatch.setattr(model.model, "memory_required", lambda shape, **_: shape[0] * 1e10)
    monkeypatch.setattr(type(tiled), "get_free_memory", lambda self, device: free)
    tiling = tiled.get_wrappers(comfy.patcher_extension.WrappersMP.CALC_COND_BATCH, KEY)[0].__self__
    not_on_the_cpu = torch.zeros(1, 4, HEIGHT, WIDTH, device="meta")
    layout = tiling._layout(model.model, not_on_the_cpu.shape)
    assert tiling._batch_size(model.model, [[], []], not_on_the_cpu, layout) == size


@pytest.mark.parametrize(
    ("count", "size", "lengths"), [(9, 4, [3, 3, 3]), (4, 4, [4]), (5, 4, [2, 3]), (3, 1, [1, 1, 1])]
)
def test_batches_are_as_equal_as_can_be(count, size, lengths):
    batches = _batches(count, size)
    assert [len(batch) for batch in batches] == lengths
    assert [i for batch in batches for i in batch] == list(range(count))


def test_interrupting_stops_between_tiles(comfy):
    import comfy.model_management as management

    class Interrupted(Pointwise):
        def forward(self, *args, **kwargs):
            management.interrupt_current_processing(True)
            return super().forward(*args, **kwargs)

    model = make_model(comfy, Interrupted())
    with pytest.raises(management.InterruptProcessingException):
        predict(comfy, tile_model(model, TILE, OVERLAP), [[entry(comfy)]], random(1, 4, HEIGHT, WIDTH))
    management.interrupt_current_processing(False)
    assert len(model.model.diffusion_model.calls) == 1


class BoxPainter:
    """GLIGEN whose fuser paints each box's embedding over the cells whose middle lies in the box."""

    @staticmethod
    def make(comfy) -> Any:
        import comfy.gligen

        class Positions(torch.nn.Module):
            def forward(self, boxes, masks, embeddings):
                return torch.cat([boxes, masks[..., None], embeddings], -1)

        class Fuser(torch.nn.Module):
            def forward(self, x, boxes):
                height, width = x.shape[-2:]
                y = ((torch.arange(height) + 0.5) / height)[:, None]
                x_ = ((torch.arange(width) + 0.5) / width)[None]
                out = x
                for left, top, right, bottom, there, value in boxes[0].tolist():
                    inside = (x_ > left) & (x_ < right) & (y > top) & (y < bottom)
                    out = out + there * value * inside
                return out

        return types.SimpleNamespace(model=comfy.gligen.Gligen([Fuser()], Positions(), 1))


def boxes(*places: tuple[int, int, int, int]) -> list[tuple[Any, ...]]:
    """GLIGEN's parameters: embedding, height, width, y, x in cells."""
    return [(torch.tensor([[0.3 + 0.2 * i]]), *place) for i, place in enumerate(places)]


@pytest.mark.parametrize("tiles", [0, 4])
@pytest.mark.parametrize("area", [None, (20, 24, 4, 10)])
@pytest.mark.parametrize("images", [1, 2])
def test_gligen_boxes_keep_their_place(comfy, tiles, area, images):
    model = make_model(comfy, Pointwise())
    gligen = ("position", BoxPainter.make(comfy), boxes((9, 20, 5, 3), (4, 4, 0, 0), (12, 6, 8, 14), (28, 40, 0, 0)))
    regional = {**entry(comfy, 3), "gligen": gligen, **({"area": area} if area else {})}
    x = random(images, 4, HEIGHT, WIDTH)
    conds = [[entry(comfy, 1), regional], [entry(comfy, 2)]]
    untiled, tiled = (predict(comfy, m, conds, x) for m in (model, tile_model(model, TILE, OVERLAP, tiles)))
    for one, other in zip(tiled, untiled, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    without = predict(comfy, model, [[entry(comfy, 1), {**regional, "gligen": (*gligen[:2], [])}], None], x)
    assert not torch.allclose(without[0], untiled[0], atol=0.01)


@pytest.mark.parametrize("tiles", [0, 3])
@pytest.mark.parametrize("references", [1, 2])
def test_reference_latents_of_the_canvas_are_cropped_and_others_stay_whole(comfy, tiles, references):
    model = make_model(comfy, Pointwise())
    latents = [random(references, 4, HEIGHT, WIDTH, seed=31), random(1, 4, 9, 12, seed=32)]
    conds = [[entry(comfy, i, ref_latents=comfy.conds.CONDList(latents))] for i in (1, 2)]
    x = random(2, 4, HEIGHT, WIDTH)
    untiled, tiled = (predict(comfy, m, conds, x) for m in (model, tile_model(model, TILE, OVERLAP, tiles)))
    for one, other in zip(tiled, untiled, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(untiled[0], predict(comfy, model, [[entry(comfy, 1)]], x)[0], atol=0.01)


def test_perturbed_attention_guidance_is_tiled_too(comfy):
    from comfy_extras.nodes_pag import PerturbedAttentionGuidance

    model = make_model(comfy, Pointwise())
    guided = PerturbedAttentionGuidance.execute(model, 3.0).result[0]
    untiled = assert_tiled_like_untiled(comfy, guided, prompt(1), prompt(2), tiles=4)
    assert not torch.allclose(untiled, sample(comfy, model, prompt(1), prompt(2)), atol=0.01)


def samplers() -> list[str]:
    """ComfyUI's samplers at the time of writing."""
    return [
        "euler", "euler_cfg_pp", "euler_ancestral", "euler_ancestral_cfg_pp", "heun", "heunpp2", "dpm_2",
        "dpm_2_ancestral", "lms", "dpm_fast", "dpm_adaptive", "dpmpp_2s_ancestral", "dpmpp_2s_ancestral_cfg_pp",
        "dpmpp_sde", "dpmpp_sde_gpu", "dpmpp_2m", "dpmpp_2m_cfg_pp", "dpmpp_2m_sde", "dpmpp_2m_sde_heun",
        "dpmpp_3m_sde", "ddpm", "lcm", "ipndm", "ipndm_v", "deis", "res_multistep", "res_multistep_ancestral",
        "res_multistep_cfg_pp", "gradient_estimation", "er_sde", "seeds_2", "seeds_3", "sa_solver", "sa_solver_pece",
        "ddim", "uni_pc", "uni_pc_bh2",
    ]  # fmt: skip


@pytest.mark.parametrize("sampler", samplers())
def test_every_sampler_makes_of_tiles_what_it_makes_of_the_canvas(comfy, sampler):
    if sampler not in comfy.samplers.KSampler.SAMPLERS:
        pytest.skip("not in this ComfyUI")
    assert_tiled_like_untiled(comfy, make_model(comfy, Pointwise()), prompt(1), prompt(2), sampler=sampler)


def test_previews_show_the_whole_canvas(comfy):
    seen: list[tuple[int, ...]] = []
    model = tile_model(make_model(comfy, Pointwise()), TILE, OVERLAP)
    sample(comfy, model, prompt(1), prompt(2), callback=lambda step, x0, x, total: seen.append(tuple(x0.shape)))
    assert seen == [(1, 4, HEIGHT, WIDTH)] * 3


def small_unet(comfy) -> Any:
    """A ModelPatcher of ComfyUI's own UNet, 32 channels, random weights."""
    import comfy.ldm.modules.diffusionmodules.openaimodel as openaimodel
    import comfy.ops

    torch.manual_seed(3)
    unet = openaimodel.UNetModel(
        image_size=32, in_channels=4, model_channels=32, out_channels=4, num_res_blocks=[1], channel_mult=[1],
        transformer_depth=[1], transformer_depth_output=[1, 1], transformer_depth_middle=1, context_dim=16,
        num_heads=2, use_spatial_transformer=True, legacy=False, dtype=torch.float32,
        operations=comfy.ops.disable_weight_init,
    )  # fmt: skip
    for parameter in unet.parameters():
        torch.nn.init.normal_(parameter, std=0.08)
    return make_model(comfy, unet)


def freeu(comfy, model: Any) -> Any:
    from comfy_extras.nodes_freelunch import FreeU_V2

    model.model.model_config.unet_config["model_channels"] = 16  # FreeU works on twice and four times as many
    return FreeU_V2.execute(model, 1.3, 1.4, 0.9, 0.2).result[0]


def lora(comfy, model: Any) -> Any:
    model = model.clone()
    key = "diffusion_model.middle_block.0.in_layers.2.weight"
    change = random(*model.model.state_dict()[key].shape, seed=41)
    assert model.add_patches({key: ("diff", (change,))}, 0.5)
    return model


def hypernetwork(comfy, model: Any) -> Any:
    """As the HypernetworkLoader patches models, with its own patch around a random network."""

    class Patch:
        def __call__(self, q, k, v, extra_options):
            return q, k * 1.5, v + torch.tanh(v)

        def to(self, device):
            return self

    model = model.clone()
    model.set_model_attn1_patch(Patch())
    model.set_model_attn2_patch(Patch())
    return model


@pytest.mark.slow
@pytest.mark.parametrize("patch", [freeu, lora, hypernetwork])
def test_patches_of_the_model_work_on_each_tile_as_on_a_picture(comfy, patch):
    """The tiled prediction is the blend of what the patched model makes of each tile alone."""
    plain = small_unet(comfy)
    model = patch(comfy, plain)
    x, conds = random(1, 4, HEIGHT, WIDTH), [[entry(comfy, 1)], [entry(comfy, 2)]]
    model.patch_model()
    # Layers so small take longer to share out among busy cores than to compute.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        tiled = predict(comfy, tile_model(model, TILE, OVERLAP), conds, x)
        layout = plan(WIDTH, HEIGHT, TILE // 8, OVERLAP // 8, 8)
        expected = [torch.zeros_like(x) for _ in conds]
        for tile, weight in zip(layout.tiles, weights(layout), strict=True):
            for blend, part in zip(expected, predict(comfy, model, conds, crop(x, tile)), strict=True):
                add_tile(blend, tile, part, weight)
    finally:
        model.unpatch_model()
        torch.set_num_threads(threads)
    for one, other in zip(tiled, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(tiled[0], predict(comfy, tile_model(plain, TILE, OVERLAP), conds, x)[0], atol=1e-3)


def ipadapter_patch(mask: torch.Tensor | None) -> Any:
    """As ComfyUI_IPAdapter_plus makes them: one object that keeps the arguments of each adapter."""

    class Attn2Replace:
        def __init__(self) -> None:
            self.callback, self.kwargs = [lambda *args: args[0]], [{"weight": 1.0, "mask": mask}]

        def __call__(self, q, k, v, extra_options):
            return q

    return Attn2Replace()


def regional_attention(mask: torch.Tensor) -> Any:
    def attention(q, k, v, extra_options):
        return q * mask.mean(), k, v

    return attention


@pytest.mark.parametrize("kind", ["IPAdapter", "regional attention", "Self-Attention Guidance"])
def test_patches_that_know_places_on_the_canvas_are_refused_before_models_are_loaded(comfy, kind):
    from comfy_extras.nodes_sag import SelfAttentionGuidance

    model, mask = make_model(comfy, Pointwise()), torch.ones(1, 64, 64)
    if kind == "IPAdapter":
        model.set_model_attn2_replace(ipadapter_patch(mask), "middle", 0, 0)
    elif kind == "regional attention":
        model.set_model_attn2_patch(regional_attention(mask))
    else:
        model = SelfAttentionGuidance.execute(model, 0.5, 2.0).result[0]
    told = "Self-Attention" if kind.startswith("Self") else "attention mask 'mask'"
    with pytest.raises(TilingError, match=told):
        sample(comfy, tile_model(model, TILE, OVERLAP), prompt(1), prompt(2))
    assert not model.model.diffusion_model.calls
    whole = tile_model(make_model(comfy, Pointwise()), 0, 0)
    whole.model_options = model.model_options
    if kind != "Self-Attention Guidance":  # which needs a network with attention
        sample(comfy, whole, prompt(1), prompt(2))


def test_an_ipadapter_without_a_mask_is_tiled(comfy):
    model = make_model(comfy, Pointwise())
    model.set_model_attn2_replace(ipadapter_patch(None), "middle", 0, 0)
    assert_tiled_like_untiled(comfy, model, prompt(1), prompt(2))


def test_reference_latents_count_as_memory_for_what_a_tile_sees(comfy):
    model = make_model(comfy, Pointwise())
    asked: list[list[tuple[int, ...]]] = []

    def shapes(**cond: Any) -> dict[str, list[int]]:
        asked.append([tuple(latent.shape) for latent in cond.get("reference_latents", [])])
        return {}

    model.model.extra_conds_shapes = shapes
    references = [random(1, 4, HEIGHT, WIDTH), random(1, 4, 9, 12)]
    positive = prompt(1, reference_latents=references)
    sample(comfy, tile_model(model, TILE, OVERLAP), positive, prompt(2))
    assert [(1, 4, 16, 16), (1, 4, 9, 12)] in asked
    assert not any((1, 4, HEIGHT, WIDTH) in latents for latents in asked)
    assert positive[0][1]["reference_latents"] is references


def refused(name: str, comfy) -> dict[str, Any]:
    conds = comfy.conds
    canvas = torch.zeros(1, 4, HEIGHT, WIDTH)
    if name == "reference latents":
        return entry(comfy, ref_latents=conds.CONDList([torch.zeros(1, 4, 1, 9, 9)]))
    if name == "attention_mask":
        return entry(comfy, attention_mask=conds.CONDRegular(torch.zeros(1, 300, 300)))
    if name == "several latents":
        return entry(comfy, latent_shapes=conds.CONDConstant([(1, 4, 8, 8)]))
    if name == "effnet":
        return entry(comfy, effnet=conds.CONDRegular(canvas))
    if name == "depth":
        return entry(comfy, depth=conds.CONDRegular(canvas[0]))
    if name == "payload":
        return entry(comfy, payload=conds.CONDConstant({"image": [canvas]}))
    if name == "c_concat":
        return entry(comfy, c_concat=conds.CONDNoiseShape(torch.zeros(1, 4, 9, 9)))
    if name == "unknown kind Strange":
        return entry(comfy, x=type("Strange", (conds.CONDRegular,), {})(torch.zeros(1, 1)))
    if name == "video hint":
        return {**entry(comfy), "control": controlnet(comfy).set_cond_hint(torch.zeros(1, 3, 5, 64, 64))}
    if name == "region_mask of the control ControlNet":
        control, outer = controlnet(comfy), controlnet(comfy)
        control.region_mask = torch.zeros(1, 64, 64)
        return {**entry(comfy), "control": outer.set_previous_controlnet(control)}
    return {**entry(comfy), "control": object()}


@pytest.mark.parametrize(
    "name",
    [
        "reference latents", "attention_mask", "several latents", "effnet", "depth", "payload", "c_concat",
        "unknown kind Strange", "video hint", "region_mask of the control ControlNet",
        "control of the unknown kind object",
    ],
)  # fmt: skip
def test_what_cannot_be_cropped_is_refused_by_name(comfy, name):
    tiled = tile_model(make_model(comfy, Pointwise()), TILE, OVERLAP)
    conds = [[entry(comfy)], [refused(name, comfy)]]
    with pytest.raises(TilingError, match=name):
        predict(comfy, tiled, conds, random(1, 4, HEIGHT, WIDTH))


@pytest.mark.parametrize("shape", [(1, 4, 3, HEIGHT, WIDTH), (1, 1, 999)])
def test_latents_of_other_dimensions_are_refused_before_models_are_loaded(comfy, shape):
    tiled = tile_model(make_model(comfy, Pointwise()), TILE, OVERLAP)
    with pytest.raises(TilingError, match=f"{len(shape)} dimensions"):
        comfy.sampler_helpers.prepare_sampling(tiled, shape, {}, {"transformer_options": {"wrappers": tiled.wrappers}})


def test_tiling_again_replaces_the_tiles_and_leaves_the_first_model_alone(comfy):
    model = make_model(comfy, Pointwise())
    first = tile_model(model, TILE, OVERLAP)
    second = tile_model(first, 0, 0)
    assert not model.wrappers
    for tiled, calls in ((first, 6), (second, 1), (model, 1)):
        model.model.diffusion_model.calls.clear()
        predict(comfy, tiled, [[entry(comfy)]], random(1, 4, HEIGHT, WIDTH))
        assert len(model.model.diffusion_model.calls) == calls


@pytest.mark.parametrize(("family", "pixels"), [("SD15", 768), ("SD20", 768), ("SDXL", 1024), ("SDXLRefiner", 1024)])
def test_tiles_suit_the_models_family(comfy, family, pixels):
    assert auto_tile(make_model(comfy, Pointwise(), family)) == pixels


def test_tiles_of_newer_families_are_one_megapixel(comfy):
    config = comfy.supported_models.Flux({"image_model": "flux", "disable_unet_model_creation": True})
    inner = comfy.model_base.BaseModel(config)
    inner.diffusion_model = Pointwise()
    cpu = torch.device("cpu")
    assert auto_tile(comfy.model_patcher.ModelPatcher(inner, cpu, cpu)) == 1024


@pytest.mark.parametrize(
    ("tile", "overlap", "batch", "told"),
    [(32, 0, 0, "give 64 or more"), (256, 129, 0, "give 0 to 128"), (256, 0, -1, "give 1 or more")],
)
def test_sizes_out_of_range_are_refused_at_once(comfy, tile, overlap, batch, told):
    with pytest.raises(DistilleryError, match=told):
        tile_model(make_model(comfy, Pointwise()), tile, overlap, batch)


@pytest.mark.slow
def test_a_real_unet_shows_no_borders_of_tiles(comfy):
    """The distillery-mini UNet: tiled differs from untiled no more at tiles' edges than elsewhere."""
    import comfy.sd

    prefix = "model.diffusion_model."
    weights = {
        name.removeprefix(prefix): torch.from_numpy(values.copy())
        for name, values in mini.trained_weights().items() if name.startswith(prefix)
    }  # fmt: skip
    model = comfy.sd.load_diffusion_model_state_dict(weights)
    assert auto_tile(model) == 768
    positive, negative = ([[random(1, 77, 768, seed=i), {}]] for i in (1, 2))
    latent = torch.nn.functional.interpolate(random(1, 4, 8, 12, seed=3), size=(64, 96), mode="bicubic")
    noise = comfy.sample.prepare_noise(latent, 7)

    def run(patched: Any) -> torch.Tensor:
        return comfy.sample.sample(
            patched, noise, 2, 6.0, "uni_pc", "karras", positive, negative, latent,
            denoise=0.3, seed=7, disable_pbar=True,
        )  # fmt: skip

    with torch.inference_mode():
        untiled, tiled = run(model), run(tile_model(model, 256, 64))
    apart, done = (tiled - untiled).abs().mean((0, 1)), (untiled - latent).abs().mean()
    assert 0 < apart.mean() < 0.3 * done
    # 32 cells at 0, 21, 42, 64 and at 0, 16, 32.
    assert tiled.shape[-2:] == (64, 96)
    edges = torch.zeros(64, 96, dtype=torch.bool)
    for x in (21, 32, 42, 53, 64, 74):
        edges[:, x - 1 : x + 1] = True
    for y in (16, 32, 48):
        edges[y - 1 : y + 1] = True
    assert apart[edges].mean() < 1.1 * apart[~edges].mean()
