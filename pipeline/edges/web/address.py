"""The address that a worker serves HTTP on, and how members of the group learn each other's."""

from __future__ import annotations

import functools
import ipaddress
import socket
from dataclasses import dataclass

_CLIENT = "streamfold@"
_ANYWHERE = ("0.0.0.0", "::")


@dataclass(frozen=True)
class Address:
    """``host:port``; port 0 stands for any free one."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Of checked text: ``127.0.0.1:6066``, ``[::1]:6066``."""
        host, _, port = text.rpartition(":")
        return cls(host.strip("[]"), int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """Whether only this machine reaches it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def settled(self) -> Address:
        """With a port that is free now, where any was asked for."""
        if self.port:
            return self
        with socket.socket(socket.AF_INET6 if ":" in self.host else socket.AF_INET) as probe:
            probe.bind((self.host, 0))
            return Address(self.host, probe.getsockname()[1])

    def shifted(self, number: int) -> Address:
        """The address of worker ``number`` (from 0) of a machine."""
        return Address(self.host, self.port + number if self.port else 0)

    def advertised(self) -> Address:
        """How others reach it: a worker that listens everywhere is known by its host's name."""
        return Address(_host_name(), self.port) if self.host in _ANYWHERE else self

    def as_client_id(self) -> str:
        """What the member calls itself in the group."""
        return f"{_CLIENT}{self}"

    @staticmethod
    def of_client_id(client_id: str) -> str | None:
        """The address in a member's name, if there is one."""
        return client_id.removeprefix(_CLIENT) if client_id.startswith(_CLIENT) else None


@functools.cache
def _host_name() -> str:
    """This host's name, with its domain where that is known: a Kubernetes pod is not found by others without it."""
    name = socket.gethostname()
    try:
        canonical = socket.getaddrinfo(name, None, flags=socket.AI_CANONNAME)[0][3]
    except (OSError, UnicodeError):  # not to be found, or too long for a name of the network
        return name
    # What is not the name with a domain is another one: many hosts call themselves localhost.
    return canonical if canonical.startswith(f"{name}.") else name
