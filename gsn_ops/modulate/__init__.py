"""Formulas that change attention or text features in the ordinary forward pass, without gradients."""
