"""`python3 tools/dev.py gpu`: proves and measures everything that only a CUDA device can show."""
