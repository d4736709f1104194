"""Workers: are they up and ready, what do they take of the machine, what do they run."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from scripts.dashboards.board import Panel, board, chosen, lines, rate, rows, states, summed


def dashboard() -> Dashboard:
    """The processes."""
    return board(
        "workers",
        "Workers",
        "Are they up and ready, what do they take of the machine, what do they run.",
        [],
        {"Health": _health(), "Machine": _machine(), "Garbage": _garbage(), "Build": _build()},
    )


def _health() -> list[Panel]:
    return [
        states(
            "Up",
            "Whether Prometheus reaches the worker.",
            chosen("up"),
            "{{instance}}",
            {"0": ("down", "red"), "1": ("up", "green")},
        ),
        states(
            "Ready",
            "Whether every partition of the worker takes events.",
            chosen("streamfold_ready"),
            "{{instance}}",
            {"0": ("not ready", "orange"), "1": ("ready", "green")},
        ),
    ]


def _machine() -> list[Panel]:
    return [
        lines(
            "CPU",
            "Of one core. A worker folds in one process: at 100 % more workers help, up to one for each partition.",
            "percentunit",
            {"{{instance}}": summed(rate("process_cpu_seconds_total"), "instance")},
        ),
        lines(
            "Memory",
            "Memory of the process that is in the machine's RAM.",
            "bytes",
            {"{{instance}}": chosen("process_resident_memory_bytes")},
        ),
        lines(
            "Open files",
            "Of those that the process may have: connections to brokers and to those who ask.",
            "percentunit",
            {"{{instance}}": f"{chosen('process_open_fds')} / {chosen('process_max_fds')}"},
        ),
        lines(
            "Age",
            "How long the process has run. A fall to 0 is a start.",
            "s",
            {"{{instance}}": f"time() - {chosen('process_start_time_seconds')}"},
        ),
    ]


def _garbage() -> list[Panel]:
    return [
        lines(
            "Collections",
            "How often Python collects garbage, per second, by generation; the oldest takes longest.",
            "ops",
            {"{{instance}}, {{generation}}": summed(rate("python_gc_collections_total"), "instance", "generation")},
        ),
        lines(
            "Objects collected",
            "Objects in cycles that the collector of garbage took away, per second.",
            "cps",
            {
                "collected, {{instance}}": summed(rate("python_gc_objects_collected_total"), "instance"),
                "uncollectable, {{instance}}": summed(rate("python_gc_objects_uncollectable_total"), "instance"),
            },
        ),
    ]


def _build() -> list[Panel]:
    return [
        rows("streamfold", "Which version each worker runs.", chosen("streamfold_build_info")),
        rows("Python", "Which Python each worker runs on.", chosen("python_info")),
    ]
