"""Subjects: from what a user types, or from the prompt itself, to the text columns of each word.

Words: word_lists < image_words, thing_words, structure_words. A prompt: readable_text < tagger <
prompt_cleanup < noun_phrase < words_in_place < caption_parser < find. Besides: matching, syntax, language,
spacy_parser < syngen_rules. Then resolve < placement (detokenize stands alone). Each module imports only
modules to its left.
"""
