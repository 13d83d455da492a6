"""Captures the attention of a running model, with gradients."""
