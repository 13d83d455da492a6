"""Caches that skip a transformer's blocks, as other packs put them on Flux: small ones of our own."""

from __future__ import annotations

import torch

from .foreign_patches import run, with_wrapper


def residual_cache(model, rewrites: bool):
    """Caches of a transformer's blocks as packs make them: after the first call, the blocks are skipped and
    their last change is added again.

    rewrites: within a wrapper, the network's method is replaced by one that hands the blocks no options
    (written for an older ComfyUI); else the list of blocks is replaced by one block that remembers.
    """
    network = model.model.diffusion_model
    kept: dict[str, object] = {"skip": False}

    def own_forward(img, img_ids, txt, txt_ids, timesteps, y, guidance=None, *more, **options):
        """Flux's forward_orig, without options for the attention and patches."""
        from comfy.ldm.flux.layers import timestep_embedding

        img, txt = network.img_in(img), network.txt_in(txt)
        vec = network.time_in(timestep_embedding(timesteps, 256).to(img.dtype))
        vec = vec + network.vector_in(y[:, : network.params.vec_in_dim])
        if network.params.guidance_embed and guidance is not None:
            vec = vec + network.guidance_in(timestep_embedding(guidance, 256).to(img.dtype))
        pe, given = network.pe_embedder(torch.cat((txt_ids, img_ids), 1)), img
        if kept["skip"]:
            img = img + kept["change"]
        else:
            for block in network.double_blocks:
                img, txt = block(img=img, txt=txt, vec=vec, pe=pe, attn_mask=None)
            img = torch.cat((txt, img), 1)
            for block in network.single_blocks:
                img = block(img, vec=vec, pe=pe, attn_mask=None)
            img = img[:, txt.shape[1] :]
            kept["change"] = (img - given).detach()
        return network.final_layer(img, vec)

    class Remembering(torch.nn.Module):
        """All double blocks as one."""

        def __init__(self, blocks):
            super().__init__()
            self.blocks = [blocks]  # no part of it, as its state is the network's

        def forward(self, img, txt, **more):
            if kept["skip"]:
                return img + kept["img"], txt + kept["txt"]
            given = img, txt
            for block in self.blocks[0]:
                img, txt = block(img=img, txt=txt, **more)
            kept["img"], kept["txt"] = (img - given[0]).detach(), (txt - given[1]).detach()
            return img, txt

    def wrapper(apply, args):
        name, replacement = "forward_orig", own_forward
        if not rewrites:
            name, replacement = "double_blocks", torch.nn.ModuleList([Remembering(network.double_blocks)])
        before = vars(network)["_modules"].get(name)
        setattr(network, name, replacement)
        try:
            out = run(apply, args)
        finally:
            if before is None:
                delattr(network, name)
            else:
                setattr(network, name, before)
        kept["skip"] = True
        return out

    return with_wrapper(model, wrapper)


def cached_blocks(model):
    """A block cache in the places that ComfyUI has for it, so nothing around the network can be left out."""

    def skipped(args, extra):
        return {name: args[name] for name in ("img", "txt") if name in args}

    model = model.clone()
    for kind in ("double", "single"):
        for n in range(len(getattr(model.model.diffusion_model, f"{kind}_blocks"))):
            model.set_model_patch_replace(skipped, "dit", f"{kind}_block", n)
    return model
