"""Memories that follow from the one before and the input: diagonal ones, and functions of the user's own."""
