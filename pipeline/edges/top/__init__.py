"""What the workers of a group do at the moment, from what each of them serves over HTTP."""

from pipeline.edges.top.figures import Snapshot
from pipeline.edges.top.group import Group
from pipeline.edges.top.members import Members

__all__ = ["Group", "Members", "Snapshot"]
