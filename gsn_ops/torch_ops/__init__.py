"""Plain torch: attention with text, matrix products and convolutions, usable without ComfyUI."""
