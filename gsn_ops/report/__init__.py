"""What a run did: data, text, the book that nodes look it up in, and pictures of it."""
