"""Measurements, mostly on the embedded models: many prompts and seeds, and the same noise for every method.

    python3 tools/dev.py study --model demo --quick                          the best step
    python3 tools/dev.py study server --help                                 the same on your own checkpoint
    python3 tools/dev.py study eval --pairs 300                              one method, settings varied
    python3 tools/dev.py study compare --write docs/results.md               all published methods
    python3 tools/dev.py study tradeoff --write docs/equal_compute.md        methods and new seeds
    python3 tools/dev.py study gradient-free --write docs/gradient_free.md   methods without gradients
    python3 tools/dev.py study tables                                        stored tables again

`data` says what a study is, `run` makes its images, `store` keeps one record per image, and `steps`,
`evaluate`, `compare`, `compute_tradeoff` and `gradient_free` are the studies: each plans its ways and prints
tables from records.
`server_study` is the study through ComfyUI servers: `cells` puts cells into a workflow, `pools` gives them to
workers that may die, `server_worker` is one of them, `server_results` keeps verdicts and prints tables.
"""
