"""ComfyUI servers: the client of one, the managed one, several in a pool, and the workflow that they are given."""
