"""Memories of key-value pairs: their means, and windows of them with attention."""
