"""What a pipeline is made of, from a TOML file or from Python."""

from pipeline.core.config.load import load, loads
from pipeline.core.config.model import App, Dedupe, Stream, Table
from pipeline.core.config.problem import ConfigError, Problem
from pipeline.core.config.security import KafkaSecurity

__all__ = ["App", "ConfigError", "Dedupe", "KafkaSecurity", "Problem", "Stream", "Table", "load", "loads"]
