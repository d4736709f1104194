"""Finds what would stop a pipeline or make it wrong, before it is run: `examine`."""

from pipeline.edges.doctor.examination import examine
from pipeline.edges.doctor.finding import Finding

__all__ = ["Finding", "examine"]
