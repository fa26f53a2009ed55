"""Walk a graph from the saved image back to how it was made."""
