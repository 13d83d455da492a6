"""The hook into sampling: the patch, the plan, one sampler call, its recipes, and the watched sampler."""
