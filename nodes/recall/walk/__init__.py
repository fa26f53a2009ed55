"""The way from the saved image back through the graph to how it was made."""
