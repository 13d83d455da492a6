"""`python3 tools/dev.py bench`: what one shift costs, beside a plain step, the published way and its
arithmetic.
"""
