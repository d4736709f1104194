"""A table's latest results as columns, for notebooks."""

from pipeline.edges.frame.frame import TableFrame
from pipeline.edges.frame.read import read_table

__all__ = ["TableFrame", "read_table"]
