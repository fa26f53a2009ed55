"""Nodes that do the work of several, expanded into ComfyUI's own."""
