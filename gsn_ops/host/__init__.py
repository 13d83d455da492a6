"""Everything that knows ComfyUI, and nothing else."""
