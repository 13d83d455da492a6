"""Language: what people type and write, and which columns of the text it is."""
