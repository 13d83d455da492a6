"""Layouts: an LLM's answer or drawn boxes in, captioned boxes and prompts out. Plain data and geometry.

lines, layout < literal < order, labels < entries < object_lines, geometry, drawn < answer < prompts, examples
< request.
"""
