"""Formulas of editing given images: the way to noise and back, and edits made on that way."""
