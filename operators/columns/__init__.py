"""Arithmetic on the columns of a batch, of all its keys at once."""
