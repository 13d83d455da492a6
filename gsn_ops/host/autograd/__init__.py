"""Makes ComfyUI's models differentiable."""
