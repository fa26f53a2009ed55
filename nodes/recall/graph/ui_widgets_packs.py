"""Names of widgets of node packs by class, in the order of their values: see :mod:`.ui_widgets`.

Versions of a node that differ are parted by ``|``, the newest first.
"""

from __future__ import annotations

PACK_WIDGETS: dict[str, str] = {
    # RES4LYF
    "BongSampler": "seed steps cfg sampler_name scheduler denoise",
    "ClownSampler": "noise_type_sde noise_mode_sde eta s_noise d_noise noise_seed_sde sampler_name implicit_sampler_name "
        "implicit_steps extra_options",
    "ClownSamplerSelector_Beta": "sampler_name",
    "ClownsharKSampler": "noise_type_init noise_type_sde noise_mode_sde eta noise_seed sampler_mode sampler_name "
        "implicit_sampler_name scheduler steps implicit_steps denoise denoise_alt cfg extra_options",
    "Legacy_ClownsharKSampler": "noise_type_init noise_type_sde noise_mode_sde eta noise_seed sampler_mode sampler_name "
        "implicit_sampler_name scheduler steps implicit_steps denoise denoise_alt cfg shift base_shift "
        "truncate_conditioning",
    "FluxLoader": "model_name weight_dtype clip_name1 clip_name2_opt vae_name clip_vision_name style_model_name",
    "SD35Loader": "model_name weight_dtype clip_name1 clip_name2_opt clip_name3_opt vae_name",
    "ClownModelLoader": "model_name weight_dtype clip_name1_opt clip_name2_opt clip_name3_opt clip_name4_opt clip_type vae_name",
    "SeedGenerator": "seed",
    "ClownsharKSampler_Beta": "eta sampler_name scheduler steps steps_to_run denoise cfg seed sampler_mode bongmath",
    "ClownsharkChainsampler_Beta": "eta sampler_name steps_to_run cfg sampler_mode bongmath",
    "SharkSampler_Beta": "scheduler steps steps_to_run denoise cfg seed sampler_mode",
    "SharkSampler": "noise_type_init noise_stdev noise_seed sampler_mode scheduler steps denoise denoise_alt cfg",
    "ClownSampler_Beta": "eta sampler_name seed bongmath",
    "UltraCascade_Loader": "stage_c_name stage_b_name",
    # Use Everywhere
    "Seed Everywhere": "seed",
    # TiledKSampler
    "BNK_TiledKSampler": "seed tile_width tile_height tiling_strategy steps cfg sampler_name scheduler denoise",
    "BNK_TiledKSamplerAdvanced": "add_noise noise_seed tile_width tile_height tiling_strategy steps cfg sampler_name "
        "scheduler start_at_step end_at_step return_with_leftover_noise preview",
    # tinyterraNodes
    "ttN KSampler_v2": "lora_name lora_strength upscale_method upscale_model_name factor rescale percent width height longer_side "
        "crop steps cfg sampler_name scheduler denoise image_output save_prefix file_type embed_workflow seed",
    "ttN conditioning": "loras positive positive_token_normalization positive_weight_interpretation negative "
        "negative_token_normalization negative_weight_interpretation zero_out_empty",
    "ttN pipeEncodeConcat": "toggle positive positive_token_normalization positive_weight_interpretation negative "
        "negative_token_normalization negative_weight_interpretation",
    "ttN pipeKSampler": "lora_name lora_model_strength lora_clip_strength upscale_method factor crop sampler_state steps cfg "
        "sampler_name scheduler denoise image_output save_prefix seed",
    "ttN pipeKSamplerAdvanced": "lora_name lora_model_strength lora_clip_strength upscale_method factor crop sampler_state add_noise steps "
        "cfg sampler_name scheduler start_at_step end_at_step return_with_leftover_noise image_output save_prefix "
        "noise_seed",
    "ttN pipeKSamplerAdvanced_v2": "lora_name lora_strength upscale_method upscale_model_name factor rescale percent width height longer_side "
        "crop add_noise noise steps start_at_step end_at_step cfg sampler_name scheduler "
        "return_with_leftover_noise image_output save_prefix file_type embed_workflow noise_seed",
    "ttN pipeKSampler_v2": "lora_name lora_strength upscale_method upscale_model_name factor rescale percent width height longer_side "
        "crop steps cfg sampler_name scheduler denoise image_output save_prefix file_type embed_workflow seed",
    "ttN pipeLoaderSDXL_v2": "ckpt_name config_name vae_name clip_skip loras refiner_ckpt_name refiner_config_name positive_g "
        "positive_l negative_g negative_l conditioning_aspect conditioning_width conditioning_height crop_width "
        "crop_height target_aspect target_width target_height positive_ascore negative_ascore empty_latent_aspect "
        "empty_latent_width empty_latent_height batch_size seed",
    "ttN pipeKSamplerSDXL_v2": "lora_name lora_strength upscale_method upscale_model_name factor rescale percent width height "
        "longer_side crop base_steps cfg denoise refiner_steps refiner_cfg refiner_denoise sampler_name scheduler "
        "image_output save_prefix file_type embed_workflow seed",
    "ttN pipeLoader": "ckpt_name config_name vae_name clip_skip lora1_name lora1_model_strength lora1_clip_strength lora2_name "
        "lora2_model_strength lora2_clip_strength lora3_name lora3_model_strength lora3_clip_strength positive "
        "positive_token_normalization positive_weight_interpretation negative negative_token_normalization "
        "negative_weight_interpretation empty_latent_width empty_latent_height batch_size seed",
    "ttN pipeLoader_v2": "ckpt_name config_name vae_name clip_skip loras positive positive_token_normalization "
        "positive_weight_interpretation negative negative_token_normalization negative_weight_interpretation "
        "empty_latent_aspect empty_latent_width empty_latent_height batch_size seed",
    "ttN tinyLoader": "ckpt_name config_name sampling zsnr cfg_rescale_mult vae_name clip_skip empty_latent_aspect "
        "empty_latent_width empty_latent_height batch_size",
    "ttN seed": "seed",
    "ttN text": "text",
    # x-flux
    "FluxLoraLoader": "lora_name strength_model",
    "XlabsSampler": "noise_seed steps timestep_to_start_cfg true_gs image_to_image_strength denoise_strength",
    # essentials
    "CLIPTextEncodeSDXL+": "width height size_cond_factor text",
    "TextEncodeForSamplerParams+": "text",
    "KSamplerVariationsStochastic+": "noise_seed steps cfg sampler scheduler variation_strength cfg_scale",
    # GGUF
    "UnetLoaderGGUFAdvanced": "unet_name dequant_dtype patch_dtype patch_on_device",
    # Impact
    "ImpactKSamplerAdvancedBasicPipe": "add_noise noise_seed steps cfg sampler_name scheduler start_at_step end_at_step "
        "return_with_leftover_noise",
    "ImpactKSamplerBasicPipe": "seed steps cfg sampler_name scheduler denoise",
    "ImpactWildcardEncode": "wildcard_text populated_text mode Select to add LoRA Select to add Wildcard seed",
    "KSamplerAdvancedProvider": "cfg sampler_name scheduler sigma_factor",
    "KSamplerProvider": "seed steps cfg sampler_name scheduler denoise",
    "TiledKSamplerProvider": "seed steps cfg sampler_name scheduler denoise tile_width tile_height tiling_strategy",
    "ImpactBoolean": "value",
    "IterativeLatentUpscale": "upscale_factor steps temp_prefix",
    "IterativeImageUpscale": "upscale_factor steps temp_prefix",
    "PixelKSampleUpscalerProvider": "scale_method seed steps cfg sampler_name scheduler denoise use_tiled_vae tile_size",
    "PixelKSampleUpscalerProviderPipe": "scale_method seed steps cfg sampler_name scheduler denoise use_tiled_vae tile_size",
    "RegionalSampler": "seed seed_2nd seed_2nd_mode steps base_only_steps denoise overlap_factor restore_latent "
        "additional_mode additional_sampler additional_sigma_ratio",
    "TwoAdvancedSamplersForMask": "seed steps denoise overlap_factor",
    # Workflow Component's published components
    "## ksample-dec [7dd004]": "steps cfg seed sampler_name scheduler denoise",
    "## sdxl-ksample [3c7e70]": "noise_seed steps cfg sampler_name scheduler refiner_ratio",
    "## make-basic_pipe [2c8c61]": "ckpt_name positive negative",
    "## make-sdxl-base-basic_pipe [556f76]": "ckpt_name width height crop_w crop_h target_width target_height "
        "linguistic_positive supporting_terms negative",
    "## make-sdxl-refiner-basic_pipe [4a53fd]": "ckpt_name width height positive_ascore negative_ascore positive negative",
    # Inspire
    "CheckpointLoaderSimpleShared //Inspire": "ckpt_name key_opt mode",
    "GlobalSeed //Inspire": "value mode action last_seed",
    "KSampler //Inspire": "seed steps cfg sampler_name scheduler denoise noise_mode batch_seed_mode variation_seed "
        "variation_strength variation_method internal_seed",
    "KSamplerAdvanced //Inspire": "add_noise noise_seed steps cfg sampler_name scheduler start_at_step end_at_step noise_mode "
        "return_with_leftover_noise batch_seed_mode variation_seed variation_strength variation_method "
        "internal_seed",
    "KSamplerAdvancedPipe //Inspire": "add_noise noise_seed steps cfg sampler_name scheduler start_at_step end_at_step noise_mode "
        "return_with_leftover_noise batch_seed_mode variation_seed variation_strength internal_seed",
    "KSamplerAdvancedProgress //Inspire": "add_noise noise_seed steps cfg sampler_name scheduler start_at_step end_at_step noise_mode "
        "return_with_leftover_noise interval omit_start_latent omit_final_latent",
    "KSamplerPipe //Inspire": "seed steps cfg sampler_name scheduler denoise noise_mode batch_seed_mode variation_seed "
        "variation_strength internal_seed",
    "KSamplerProgress //Inspire": "seed steps cfg sampler_name scheduler denoise noise_mode interval omit_start_latent omit_final_latent",
    "LoraLoaderBlockWeight //Inspire": "category_filter lora_name strength_model strength_clip inverse seed A B preset block_vector bypass",
    "RegionalConditioningColorMask //Inspire": "mask_color strength set_cond_area prompt dilation",
    "RegionalConditioningSimple //Inspire": "strength set_cond_area prompt",
    "CLIPTextEncodeWithWeight //Inspire": "text strength add_weight",
    "WildcardEncode //Inspire": "token_normalization weight_interpretation wildcard_text populated_text mode Select to add LoRA Select to "
        "add Wildcard seed",
    "MakeBasicPipe //Inspire": "ckpt_name ckpt_key_opt positive_wildcard_text negative_wildcard_text Add selection to Select to add LoRA "
        "Select to add Wildcard wildcard_mode positive_populated_text negative_populated_text token_normalization "
        "weight_interpretation stop_at_clip_layer seed",
    # Easy Use
    "easy a1111Loader": "ckpt_name vae_name clip_skip lora_name lora_model_strength lora_clip_strength resolution "
        "empty_latent_width empty_latent_height positive negative batch_size a1111_prompt_style",
    "easy comfyLoader": "ckpt_name vae_name clip_skip lora_name lora_model_strength lora_clip_strength resolution "
        "empty_latent_width empty_latent_height positive negative batch_size",
    "easy fluxLoader": "ckpt_name vae_name lora_name lora_model_strength lora_clip_strength resolution empty_latent_width "
        "empty_latent_height positive batch_size",
    "easy fullLoader": "ckpt_name config_name vae_name clip_skip lora_name lora_model_strength lora_clip_strength resolution "
        "empty_latent_width empty_latent_height positive positive_token_normalization "
        "positive_weight_interpretation negative negative_token_normalization negative_weight_interpretation "
        "batch_size a1111_prompt_style",
    "easy hunyuanDiTLoader": "ckpt_name vae_name lora_name lora_model_strength lora_clip_strength resolution empty_latent_width "
        "empty_latent_height positive negative batch_size",
    "easy kolorsLoader": "unet_name vae_name chatglm3_name lora_name lora_model_strength lora_clip_strength resolution "
        "empty_latent_width empty_latent_height positive negative batch_size auto_clean_gpu",
    "easy pixArtLoader": "ckpt_name model_name vae_name t5_type clip_name padding t5_name device dtype lora_name "
        "lora_model_strength ratio empty_latent_width empty_latent_height positive negative batch_size",
    "easy fullkSampler": "steps cfg sampler_name scheduler denoise image_output link_id save_prefix seed",
    "easy kSampler": "image_output link_id save_prefix",
    "easy globalSeed": "value mode action last_seed",
    "easy pipeEdit": "clip_skip optional_positive positive_token_normalization positive_weight_interpretation optional_negative "
        "negative_token_normalization negative_weight_interpretation a1111_prompt_style conditioning_mode "
        "average_strength old_cond_start old_cond_end new_cond_start new_cond_end",
    "easy pipeEditPrompt": "positive negative",
    "easy preSampling": "steps cfg sampler_name scheduler denoise seed",
    "easy preSamplingAdvanced": "steps cfg sampler_name scheduler start_at_step end_at_step add_noise seed return_with_leftover_noise",
    "easy preSamplingCustom": "guider cfg cfg_negative sampler_name scheduler coeff steps sigma_max sigma_min rho beta_d beta_min eps_s "
        "flip_sigmas denoise add_noise seed",
    "easy preSamplingDynamicCFG": "steps cfg cfg_mode cfg_scale_min sampler_name scheduler denoise seed",
    "easy preSamplingLayerDiffusion": "method weight steps cfg sampler_name scheduler denoise seed",
    "easy ckptNames": "ckpt_name",
    "easy cascadeLoader": "stage_c stage_b stage_a clip_name lora_name lora_model_strength lora_clip_strength resolution "
        "empty_latent_width empty_latent_height compression positive negative batch_size",
    "easy wildcards": "text lora wildcard seed multiline_mode",
    "easy prompt": "text prefix subject action clothes environment background nsfw",
    "easy promptReplace": "find1 replace1 find2 replace2 find3 replace3 | prompt find1 replace1 find2 replace2 find3 replace3",
    "easy stylesSelector": "styles positive negative select_styles",
    "easy loraNames": "lora_name",
    # Comfyroll
    "CR Multiline Text": "text convert_from_csv csv_quote_char remove_chars chars_to_remove split_string",
    "CR Value": "value",
    "CR Apply ControlNet": "switch strength",
    # Efficiency
    "HighRes-Fix Script": "upscale_type hires_ckpt_name latent_upscaler pixel_upscaler upscale_by use_same_seed seed hires_steps "
        "denoise iterations use_controlnet control_net_name strength preprocessor preprocessor_imgs | upscale_type hires_ckpt_name "
        "latent_upscaler pixel_upscaler upscale_by use_same_seed seed hires_steps denoise iterations control_net_name strength "
        "preprocessor_imgs",
    # Nunchaku
    "NunchakuFluxDiTLoader": "model_path cache_threshold attention cpu_offload device_id data_type i2f_mode",
    "NunchakuQwenImageDiTLoader": "model_name cpu_offload num_blocks_on_gpu use_pin_memory",
    "NunchakuFluxLoraLoader": "lora_name lora_strength",
    "NunchakuTextEncoderLoader": "model_type text_encoder1 text_encoder2 t5_min_length use_4bit_t5 int4_model",
    "NunchakuTextEncoderLoaderV2": "model_type text_encoder1 text_encoder2 t5_min_length",
    "NunchakuZImageDiTLoader": "model_name cpu_offload",
    # LoraManager
    "Checkpoint Loader (LoraManager)": "ckpt_name",
    "UNet Loader (LoraManager)": "unet_name weight_dtype",
    "Prompt (LoraManager)": "text",
    # Image Saver
    "Input Parameters (Image Saver)": "seed steps cfg sampler scheduler denoise",
    # WAS
    "Text String": "text text_b text_c text_d",
    "Text Parse Tokens": "text",
    "Seed": "seed",
    # ADV CLIP emb
    "BNK_CLIPTextEncodeAdvanced": "text token_normalization weight_interpretation affect_pooled",
    "BNK_CLIPTextEncodeSDXLAdvanced": "text_l text_g token_normalization weight_interpretation affect_pooled balance",
}  # fmt: skip
