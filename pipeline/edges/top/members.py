"""Where the members of the group serve HTTP, asked of Kafka in the background: a broker that is gone delays nothing."""

from __future__ import annotations

import threading
from contextlib import closing, suppress

from pipeline.core.config.model import App
from pipeline.edges.kafka.admin import Admin
from pipeline.edges.kafka.client import ClientSettings
from pipeline.edges.web.address import Address
from pipeline.errors import StreamfoldError

_EVERY_SECONDS = 5.0
_ANSWER_SECONDS = 3.0
_PATIENCE_SECONDS = 1.0


class Members:
    """``addresses`` are those that the group named last, none before it was heard of."""

    def __init__(self, app: App) -> None:
        self.addresses: frozenset[Address] = frozenset()
        self._app = app
        self._asked = threading.Event()
        self._closed = threading.Event()
        threading.Thread(target=self._follow, name="members", daemon=True).start()
        self._asked.wait(_PATIENCE_SECONDS)  # later answers count from the next look on

    def close(self) -> None:
        """Ask no more."""
        self._closed.set()

    def _follow(self) -> None:
        with closing(Admin(ClientSettings.of(self._app), _ANSWER_SECONDS)) as admin:
            while not self._closed.is_set():
                # Who is not told by the broker is still found by the ports.
                with suppress(StreamfoldError):
                    clients = {member.partition(" ")[0] for member in admin.members(self._app.group)}
                    named = filter(None, map(Address.of_client_id, clients))
                    self.addresses = frozenset(map(Address.parse, named))
                self._asked.set()
                self._closed.wait(_EVERY_SECONDS)
