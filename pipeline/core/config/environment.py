"""``${NAME}`` and ``${NAME:-default}`` in the texts of a configuration file."""

from __future__ import annotations

import re
from collections.abc import Mapping

_REFERENCE = re.compile(
    r"(?P<escape>\$\$(?=\{))|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<rest>:-(?P<default>[^}]*))?\}|\$\{"
)


def expand(text: str, environment: Mapping[str, str]) -> str:
    """The text with its references replaced; ``$${`` stands for ``${``. Raises ValueError with what is wrong.

    A variable that is set to nothing counts as not set where there is a default, as in a shell.
    """

    def replace(match: re.Match[str]) -> str:
        name = match["name"]
        if match["escape"]:
            return "$"
        if name is None:
            message = "found an unfinished ${, expected ${NAME} or ${NAME:-default}, or $${ for the two characters"
            raise ValueError(message)
        if match["rest"] and not environment.get(name):
            return match["default"]
        if name not in environment:
            message = f"the environment variable {name} isn't set, expected it set, or ${{{name}:-default}} here"
            raise ValueError(message)
        return environment[name]

    return _REFERENCE.sub(replace, text)
