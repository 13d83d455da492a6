"""Semantic Nursing (GSN): a node pack for ComfyUI that brings back what a picture's prompt asked for and lost.

Read from the top: `nodes/` is what people see, `gsn_ops/` is how it works.
"""

from comfy_api.latest import ComfyExtension

from .nodes import NODES

WEB_DIRECTORY = (
    "./web"  # help pages: web/docs/<node id>.md for every language, or <node id>/<language>.md for one
)


class SemanticNursing(ComfyExtension):
    """What the host asks for the pack's nodes."""

    async def get_node_list(self):
        return NODES


async def comfy_entrypoint() -> SemanticNursing:
    """The host's (V3) way in. No NODE_CLASS_MAPPINGS beside it: the host would take that and never call this."""
    return SemanticNursing()
