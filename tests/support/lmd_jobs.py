"""LMD Sampler on the demo model: short names for its jobs."""

from __future__ import annotations

import torch

from .demo_model import empty

STEPS = 5


class LMDJobs:
    """The job, the sampler, layouts of (name, box) pairs."""

    def __init__(self, tiny):
        self.tiny = tiny
        self.jobs = tiny.module("gsn_ops.host.sampling.lmd_job")
        self.sampler = tiny.module("gsn_ops.host.sampling.lmd_sampler")
        self.settings = tiny.module("gsn_ops.optimise.lmd").LMDSettings
        self.layouts = tiny.module("gsn_ops.layout.layout")

    def layout(self, *objects):
        return self.layouts.Layout(tuple(self.layouts.PlacedObject(*o) for o in objects), canvas=(128, 128))

    def job(self, *objects, model=None, sampler="euler", steps=STEPS, latent=None, settings=None, **more):
        numbers = (steps, 7.5, sampler, "ddim_uniform")
        latent = {"samples": empty()} if latent is None else latent
        layout, made = self.layout(*objects), settings or self.settings()
        model, clip = model or self.tiny.model, self.tiny.clip
        return self.jobs.LayoutJob(model, clip, layout, 1, numbers, latent, made, **more)

    def run(self, *objects, said=None, **more):
        with torch.inference_mode():
            job = self.job(*objects, **more)
            return self.sampler.sample_layout(job, [].append if said is None else said.append)
