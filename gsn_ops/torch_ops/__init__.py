"""Plain torch: attention with text, matrix products and small convolutions; runs without ComfyUI."""
