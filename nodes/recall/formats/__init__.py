"""Readers of formats, from texts to a generation: one module a program."""
