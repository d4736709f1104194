"""What an owner of the model keeps to, rule by rule; each can be switched off to see what it is for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Rules:
    """What an owner keeps to. The product keeps to all."""

    fences_before_reading: bool = True
    """It takes the transactional id over first, and only then reads the changelog's end and the committed offset."""
    fences: bool = True
    """Owners share one transactional id, so that the epoch stops all but the newest."""
    checks_contiguity: bool = True
    """A batch that does not start where the last one ended is not folded."""
    counts_keys: bool = True
    """As many keys as the meta record says have to be restored."""
    acknowledges: bool = True
    """A transaction one of whose writes is not acknowledged is not committed."""
    settles: bool = True
    """A cut in doubt is sent again only after the committed offset said that it did not go through."""
    renews: bool = True
    """After a commit that took more than one request a new producer is fenced."""
    looks_after_renewing: bool = True
    """That fence stops a newer owner too, so it is asked whether one has committed."""
    proves_refusals: bool = True
    """Before it refuses what it has read it sees that its fence still stands: else another owner may be writing it."""
