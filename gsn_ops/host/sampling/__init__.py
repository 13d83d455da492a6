"""The hook into sampling: a plan, one run, its recipes, the sampler that is watched."""
