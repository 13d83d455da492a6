"""Charts, cards and heat maps as arrays [H, W, 3] in 0 ... 1. Pillow and numpy only."""
