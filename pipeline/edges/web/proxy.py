"""What this worker does not have, as the others of the group answer."""

from __future__ import annotations

import time
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import parse_qs, urlencode

from pipeline.core.config.model import Table
from pipeline.edges.web.answers import Page, Problem, Restoring
from pipeline.edges.web.cursor import Cursor
from pipeline.edges.web.errors import Absent, no_such_key, not_yet, unanswered
from pipeline.edges.web.formats import decoded
from pipeline.edges.web.keys import segment_of
from pipeline.edges.web.peers import Peers, Question, Reply
from pipeline.edges.web.reading import Reader

_PAGE_SECONDS = 2.0


async def passed_on(peers: Peers, table: Table, own: Absent, question: Question) -> Reply:
    """The answer of whoever can give one.

    Raises:
        HttpError: together they have looked everywhere, and there is no such key.
        Absent: nobody has looked in all of the partitions, as some are being restored, or their owner is silent.
    """
    missing, silent = set(own.missing), list[str]()
    problems = [own.problem]
    replies = await peers.ask(await peers.holding(table.stream.topic, missing), question)
    for peer, reply in replies.items():
        problem = _problem_of(reply)
        if problem is not None:
            missing &= set(problem.get("missing", missing))
            problems.append(problem)
        elif reply is not None and _is_answer(reply):
            return reply
        else:
            silent.append(str(peer))
    if not missing:
        raise no_such_key(table.name)
    told = [part for problem in problems for part in problem.get("restoring", ())]
    left: list[Restoring] = [part for part in told if part["partition"] in missing]
    # Who joins the group says that it restores nothing.
    joining = any(problem.get("restoring") == [] for problem in problems)
    raise not_yet(missing, left) if left or joining else unanswered(missing, sorted(silent))


@dataclass(frozen=True)
class Listing:
    """The keys of a table that begin with ``prefix``, partition by partition, wherever these are.

    Without ``peers`` they are those of this worker.
    """

    reader: Reader
    peers: Peers | None
    table: Table
    prefix: str

    async def page(self, at: Cursor, limit: int) -> Page:
        """So many keys from the cursor on: fewer, and a link to the rest, where that would take long.

        Raises `Absent` if the first of the partitions can't be looked in; before any other the page ends.
        """
        keys, after = list[str](), at if limit else None
        deadline = time.monotonic() + _PAGE_SECONDS
        while after is not None and len(keys) < limit:
            try:
                found, after = await self._after(after, limit - len(keys))
            except Absent:
                if not keys:
                    raise
                break
            keys += found
            if time.monotonic() > deadline:
                break
        link = None if after is None else f"?{urlencode(self._query(after, limit))}"
        return {**self.reader.summary(self.table), "keys": keys, "next": link}

    async def _after(self, at: Cursor, limit: int) -> tuple[list[str], Cursor | None]:
        try:
            return await self.reader.keys(self.table, self.prefix.encode(), at, limit)
        except Absent as own:
            if self.peers is None:
                raise
            question = Question(f"/tables/{segment_of(self.table.name)}", self._query(at, limit))
            reply = await passed_on(self.peers, self.table, own, question)
            try:
                page = decoded(reply.body, reply.content_type, Page)
            except ValueError:
                raise own from None  # a worker of another configuration
            link = page["next"]
            return page["keys"], None if link is None else Cursor.parse(parse_qs(link[1:])["cursor"][0])

    def _query(self, at: Cursor, limit: int) -> dict[str, str]:
        return {"prefix": self.prefix, "limit": str(limit), "cursor": str(at)}


def _problem_of(reply: Reply | None) -> Problem | None:
    """Why it can't tell, if it is that."""
    if reply is None or reply.status not in (HTTPStatus.MISDIRECTED_REQUEST, HTTPStatus.SERVICE_UNAVAILABLE):
        return None
    try:
        return decoded(reply.body, reply.content_type, Problem)
    except ValueError:
        return None


def _is_answer(reply: Reply) -> bool:
    """Whether a worker of ours has understood the question."""
    known = (HTTPStatus.OK, HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY)
    return reply.status in known
