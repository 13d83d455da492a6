"""A real ComfyUI to work against: where it is, how it is prepared, how it is started."""
