"""Memories that are one matrix a key: linear attention, gates, delta rules, least squares."""
