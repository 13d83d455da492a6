"""Recipes: when and how objectives update the latent; their loops, and the published methods. Torch only."""
