"""Making ComfyUI's models differentiable."""
