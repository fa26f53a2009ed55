"""ComfyUI's graphs, of the API and of the editor, as nodes that can be asked for their inputs."""
