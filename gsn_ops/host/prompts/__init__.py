"""Tokens of a prompt: what the text encoders read, carried in the conditioning."""
