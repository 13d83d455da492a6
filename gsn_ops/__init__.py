"""Generative semantic nursing (GSN): everything but the nodes. Only host/ imports ComfyUI.

Imports run downwards: host > optimise > objectives > report, subjects > the files of this folder (data) >
torch_ops (torch only).
"""

__version__ = "0.1.0"
