"""Editing given images with ComfyUI's models."""
