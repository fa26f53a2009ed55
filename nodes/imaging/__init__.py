"""Tensors in, tensors out: reading, resizing, sharpening and keeping detail and colours of images."""
