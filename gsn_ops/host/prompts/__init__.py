"""What the text encoders saw, kept with the conditioning."""
