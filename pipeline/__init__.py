"""streamfold: exactly-once stream processing on Kafka, in columns instead of events."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from os import PathLike

    from pipeline.core.config.model import App, Dedupe, Stream, Table
    from pipeline.edges.frame import TableFrame

__all__ = ["App", "Dedupe", "Stream", "Table", "read_table", "run"]


def run(app: "App") -> None:
    """Run a pipeline in this process until INT or TERM, then drain, commit and return. Raises a StreamfoldError."""
    from pipeline.edges.host import serve  # noqa: PLC0415  the host is only for those who run

    serve(app)


def read_table(
    config: "App | str | PathLike[str]", table: str, *, timeout: float = 60.0, flatten: bool = True
) -> "TableFrame":
    """The latest committed result of each key of a table, as columns: see :func:`pipeline.edges.frame.read_table`."""
    from pipeline.edges import frame  # noqa: PLC0415  the client of Kafka is only for those who read

    return frame.read_table(config, table, timeout=timeout, flatten=flatten)


def __getattr__(name: str) -> Any:
    """Import the model when it is asked for: `streamfold --help` needs no NumPy."""
    if name not in __all__:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from pipeline.core.config import model  # noqa: PLC0415

    return getattr(model, name)
