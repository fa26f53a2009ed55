"""Read the texts of an image file from its bytes."""
