"""Set-up on first use: the environment, ComfyUI, the models. The launcher runs from this directory."""
