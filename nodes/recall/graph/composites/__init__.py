"""Composite nodes and their expansion into ComfyUI's own."""
