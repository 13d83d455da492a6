"""Charts, heat maps and cards, with Pillow."""
