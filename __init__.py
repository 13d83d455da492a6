"""Semantic Nursing (GSN): a node pack for ComfyUI that restores objects of the prompt that the image would
miss.

Read from the top: `nodes/` is what users see, `gsn_ops/` is how it works.
"""

from comfy_api.latest import ComfyExtension

from .nodes import NODES

WEB_DIRECTORY = "./web"
"""Help pages (docs/<node id>.md for every language, or <node id>/<language>.md for one) and gsn_lines.js."""


class SemanticNursing(ComfyExtension):
    """The extension from which ComfyUI takes the pack's nodes."""

    async def get_node_list(self):
        return NODES


async def comfy_entrypoint() -> SemanticNursing:
    """ComfyUI's V3 entry point. It is called only where the pack has no NODE_CLASS_MAPPINGS."""
    return SemanticNursing()
