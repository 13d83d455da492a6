"""Generative semantic nursing: attention maps, objectives, optimisers (torch only) and, in host/, everything that knows ComfyUI."""

__version__ = "0.1.0"
