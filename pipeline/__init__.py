"""streamfold: exactly-once stream processing on Kafka, in columns instead of events."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.core.config.model import App, Dedupe, Stream, Table

__all__ = ["App", "Dedupe", "Stream", "Table", "run"]


def run(app: "App") -> None:
    """Run a pipeline in this process until INT or TERM, then drain, commit and return. Raises a StreamfoldError."""
    from pipeline.edges.host import serve  # noqa: PLC0415  the host is only for those who run

    serve(app)


def __getattr__(name: str) -> Any:
    """Import the model when it is asked for: `streamfold --help` needs no NumPy."""
    if name not in __all__:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from pipeline.core.config import model  # noqa: PLC0415

    return getattr(model, name)
