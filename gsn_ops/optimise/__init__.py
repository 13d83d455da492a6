"""Recipes: when and how the latent is updated by an objective; their loops, and the published methods. Torch only."""
