"""The host: a Faust worker that carries the data plane, its web pages and the users' own agents."""

from pipeline.edges.host.app import FaustApp
from pipeline.edges.host.serve import serve

__all__ = ["FaustApp", "serve"]
