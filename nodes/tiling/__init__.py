"""A large canvas in tiles: their layout, the model and the VAE that run over them, and what cannot be cut."""
