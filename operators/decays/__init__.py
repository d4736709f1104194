"""Averages in which an event weighs less and less, by events or by event time."""
