"""The hook into sampling: the patch, the plan, one sampler call, its recipes, and the sampler that is watched."""
