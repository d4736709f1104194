"""Tables and memories: what the listed keys show, what the state takes, which events were odd."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from scripts.dashboards.board import Panel, board, choice, chosen, lines, rate, summed

_TABLE = 'table=~"$table"'
_VALUE = "streamfold_value"
_OF_KEY = f'{_TABLE}, key=~"$key"'
_HERE = 'job=~"$job", instance=~"$instance"'


def dashboard() -> Dashboard:
    """What the averages and memories do."""
    listed = f"{_HERE}, {_TABLE}"
    return board(
        "tables",
        "Tables and memories",
        "What the averages and memories of listed keys show, what the state takes, and which events were odd.",
        [
            choice("table", "streamfold_keys", "Tables.", matchers=_HERE),
            choice("key", _VALUE, "Keys that a table lists under [tables.NAME.metrics].", matchers=listed),
            choice("moving", _VALUE, "Operators to compare.", label="operator", matchers=listed),
            choice(
                "cumulative",
                _VALUE,
                "The operator to compare with, such as a mean over everything.",
                label="operator",
                matchers=listed,
                multi=False,
            ),
        ],
        {"Values of listed keys": _values(), "State": _state(), "Odd events": _odd()},
    )


def _latest(matchers: str) -> str:
    """The latest results; while a partition moves, two workers may show the same key for a moment."""
    return f"max by (table, key, operator) ({chosen(_VALUE, matchers)})"


def _values() -> list[Panel]:
    moving = _latest(f'{_OF_KEY}, operator=~"$moving"')
    compared = chosen(_VALUE, f'{_OF_KEY}, operator="$cumulative"')
    cumulative = f"max by (table, key) ({compared})"
    return [
        lines(
            "Values",
            "The latest results of the keys that a table lists, by operator. A vector has a curve for each number; "
            "what is undefined has none.",
            "none",
            {"{{table}} {{key}} {{operator}}": _latest(_OF_KEY)},
            width=24,
        ),
        lines(
            "Moving against cumulative",
            "The chosen operators beside the one to compare with: what a moving mean does that the mean over "
            "everything does not.",
            "none",
            {
                "{{table}} {{key}} {{operator}}": moving,
                "{{table}} {{key}} $cumulative": cumulative,
            },
        ),
        lines(
            "Away from cumulative",
            "By how much the chosen operators are above or below the one to compare with.",
            "none",
            {"{{table}} {{key}} {{operator}}": f"{moving} - on (table, key) group_left () {cumulative}"},
        ),
    ]


def _state() -> list[Panel]:
    keys, nbytes = (summed(chosen(name, _TABLE), "table") for name in ("streamfold_keys", "streamfold_state_bytes"))
    changelog = rate("streamfold_changelog_bytes_total", _TABLE)
    return [
        lines("Keys", "Keys with state.", "short", {"{{table}}": keys}),
        lines("State", "Memory that the state takes, in all workers.", "bytes", {"{{table}}": nbytes}),
        lines(
            "State of a key",
            "Memory that the state takes, by the number of keys: it is constant for operators of constant size.",
            "bytes",
            {"{{table}}": f"{nbytes} / {keys}"},
        ),
        lines("Changelog", "Bytes committed, per second.", "Bps", {"{{table}}": summed(changelog, "table")}),
    ]


def _odd() -> list[Panel]:
    def counted(name: str, *labels: str) -> str:
        return summed(rate(f"streamfold_{name}_total", _TABLE), "table", *labels)

    return [
        lines(
            "Undefined reads",
            "Undefined results (null), per second: a window without events, a memory asked before it was told.",
            "cps",
            {"{{table}} {{operator}}": counted("undefined_reads", "operator")},
        ),
        lines(
            "Late events",
            "Events that came too late for the window of an operator, per second.",
            "eps",
            {"{{table}} {{operator}}": counted("late_events", "operator")},
        ),
        lines(
            "Dropped keys",
            "Keys dropped with all their state, per second, by why.",
            "cps",
            {"{{table}}: {{reason}}": counted("dropped_keys", "reason")},
        ),
        lines(
            "Duplicates",
            "Events that were folded before, and ids that were forgotten while their time was still in the window.",
            "eps",
            {"duplicates, {{table}}": counted("duplicates"), "forgotten ids, {{table}}": counted("forgotten_ids")},
        ),
    ]
