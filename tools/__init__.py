"""Tools for people who work on the pack; none of it is part of the published package."""
