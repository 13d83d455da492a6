"""Layouts: an LLM's answer or drawn boxes in, captioned boxes and prompts out. Plain data and geometry.

lines, layout < literal < labels, entries, order < geometry < answer, drawn < prompts, examples < request.
"""
