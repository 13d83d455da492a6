"""`python3 tools/dev.py bench`: cost of one update step, beside a plain step and the published way."""
