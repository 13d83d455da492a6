"""The shapes world: renderer, captions, detector, test prompts, and the training of the embedded demo
model.
"""
