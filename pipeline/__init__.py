"""streamfold: exactly-once stream processing on Kafka, in columns instead of events."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.core.config.model import App, Stream, Table

__all__ = ["App", "Stream", "Table"]


def __getattr__(name: str) -> Any:
    """Import the model when it is asked for: `streamfold --help` needs no NumPy."""
    if name not in __all__:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from pipeline.core.config import model  # noqa: PLC0415

    return getattr(model, name)
