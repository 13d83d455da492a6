"""Kinds of values of the command line's options."""

import argparse


def at_least_one(text: str) -> int:
    """A whole number from 1, of an option."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text} is no whole number from 1")
    return int(text)


def address_of(text: str) -> str:
    """A server's address with its scheme and without a slash at its end."""
    return (text if "://" in text else f"http://{text}").rstrip("/")
