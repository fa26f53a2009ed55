"""From the texts of an image to a generation: one module a program."""
