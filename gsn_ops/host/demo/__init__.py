"""The embedded demo models."""
