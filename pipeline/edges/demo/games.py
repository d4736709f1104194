"""Live scores of an arcade that is never empty: a few players play most of the games, and everyone has a level."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

_CHUNK = 1_000
_NAMES = (
    "ada",
    "alan",
    "barbara",
    "claude",
    "dennis",
    "donald",
    "edsger",
    "emmy",
    "ernst",
    "frances",
    "grace",
    "hedy",
    "ivan",
    "james",
    "jean",
    "john",
    "kathleen",
    "ken",
    "leslie",
    "linus",
    "margaret",
    "marvin",
    "niklaus",
    "peter",
    "radia",
    "richard",
    "robin",
    "rosa",
    "shafi",
    "sophie",
    "tim",
    "tony",
    "whitfield",
)


class Games:
    """An endless, seeded source of scores; the same seed gives the same games.

    Players come by a Zipf law of exponent 1.1. A player's scores scatter around their level (log-normal, median 1,500)
    and drift with luck. ``play`` is what they did: accuracy, pace and risk; ``gain`` is what it brought: coins and
    lives, a noisy linear answer to ``play`` that is each player's own.
    """

    def __init__(self, seed: int, players: int = 200) -> None:
        self._random = np.random.default_rng(seed)
        self.names = [
            _NAMES[i % len(_NAMES)] + (f"-{i // len(_NAMES) + 1}" if i >= len(_NAMES) else "") for i in range(players)
        ]
        weights = 1 / np.arange(1, players + 1) ** 1.1
        self._weights = weights / weights.sum()
        self._level = np.exp(self._random.normal(np.log(1500), 0.35, players))
        self._answer = self._random.normal([[20, -1], [6, 0], [-4, 2]], 1.0, (players, 3, 2))

    def events(self) -> Iterator[dict[str, Any]]:
        """Scores without end, each ``{"player", "score", "play": [3 numbers], "gain": [2 numbers]}``."""
        while True:
            yield from self._chunk()

    def _chunk(self) -> Iterator[dict[str, Any]]:
        random = self._random
        players = random.choice(len(self.names), _CHUNK, p=self._weights)
        self._level *= np.exp(random.normal(0, 0.02, len(self._level)))
        scores = np.round(self._level[players] * random.gamma(9, 1 / 9, _CHUNK))
        play = np.round(random.normal([0.7, 1.2, 0.3], [0.15, 0.4, 0.2], (_CHUNK, 3)).clip(0, None), 3)
        gain = np.einsum("nk,nkv->nv", play, self._answer[players]) + random.normal(0, 0.5, (_CHUNK, 2))
        gain = np.round(gain, 2)
        for player, score, did, got in zip(players, scores.tolist(), play.tolist(), gain.tolist(), strict=True):
            yield {"player": self.names[player], "score": score, "play": did, "gain": got}
