"""Turning gradients into a better latent: loops, recipes and the papers' presets. Torch only."""
