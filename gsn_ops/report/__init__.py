"""What a run did: as data, as text, as pages and heat maps, and the book in which nodes look it up."""
