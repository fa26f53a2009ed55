"""Distillery Upscale's own pieces.

The modules of this package are plain Python (with torch, numpy or Pillow where they compute): what a
generation is, how a command is read, how an image is recalled, tile layouts, sharpening. They import
nothing of ComfyUI at import time, so the driver, scripts and tests use them as they are.
The node classes that ComfyUI shows are in :mod:`.comfyui`, one file a node, and are thin.
"""
