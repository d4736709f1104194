"""streamfold: exactly-once stream processing on Kafka, in columns instead of events."""

from pipeline.core.config.model import App, Stream, Table

__all__ = ["App", "Stream", "Table"]
