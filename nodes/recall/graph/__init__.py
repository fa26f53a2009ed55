"""ComfyUI's graphs, from the API or the editor, as nodes with inputs to look up."""
