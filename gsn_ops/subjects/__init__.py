"""Subjects: from what a user types, or from the prompt itself, to the text columns of each word.

word_lists < matching < prompt_cleanup < caption_parser < syngen_rules < spacy_parser < syntax < resolve <
placement (detokenize stands alone): each module imports only modules to its left.
"""
