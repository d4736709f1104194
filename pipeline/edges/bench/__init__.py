"""Measures this machine: the pipeline and the bare drain of the same topic, side by side, and where the time goes."""
