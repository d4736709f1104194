"""A Faust app that carries the data plane: Faust gives life cycle, web server, timers and agents, and nothing else.

Fetching, state and commits are the plane's; Faust's own consumer and producer start only when there are agents.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import faust
from faust.app.base import BootStrategy
from mode import ServiceT
from mode.utils.logging import get_logger

from pipeline.core.config.model import App
from pipeline.core.secret import mask_logs
from pipeline.edges.host.agents import broker_urls, credentials
from pipeline.edges.host.service import PlaneService
from pipeline.edges.kafka.client import ClientSettings
from pipeline.edges.kafka.plane import Plane
from pipeline.edges.metrics import Metrics
from pipeline.edges.web.address import Address
from pipeline.edges.web.admission import Guard, Turns, bounded
from pipeline.edges.web.live import Feed
from pipeline.edges.web.pages import PAGES, REQUEST_BYTES
from pipeline.edges.web.peers import Peers
from pipeline.edges.web.quick import Lookups
from pipeline.edges.web.reading import Reader
from pipeline.edges.web.server import BoundedWeb, explained

log = logging.getLogger(__name__)


class _Boot(BootStrategy):
    """Starts the plane where Faust would start its consumer, and Faust's consumer and producer only for agents."""

    app: FaustApp

    @property
    def enable_kafka(self) -> bool:  # type: ignore[override]
        return bool(self.app.agents)

    def kafka_consumer(self) -> Iterable[ServiceT]:
        # The plane first: it makes the output topics that agents subscribe to.
        return [self.app.plane_service, *super().kafka_consumer()]


class FaustApp(faust.App):
    """The Faust app of a pipeline. Its id is ``<app>-agents``: the consumer group of the agents, never the pipeline's.

    ``config`` is the pipeline; attach agents to ``app.topic(config.output(table))`` as to any topic.
    """

    BootStrategy = _Boot
    logger = get_logger("faust.app")

    def __init__(self, config: App, **options: Any) -> None:
        mask_logs()
        self.config = config
        self.metrics = Metrics()
        self.address = Address.parse(config.http).settled()
        settings = ClientSettings.of(config)
        self.plane = Plane(config, self.metrics)
        self.plane_service = PlaneService(self)
        self.peers = Peers(self.plane)
        self.feed = Feed(self)
        self._turns = Turns(lambda: self.plane.committing)
        self.plane.lulls.append(self._turns.lull)
        self._guard = Guard(config.http_token)
        super().__init__(
            f"{config.name}-agents",
            broker=broker_urls(settings),
            broker_credentials=credentials(settings),
            broker_client_id=f"{config.name}-agents",
            Worker="pipeline.edges.host.worker:HostWorker",
            web_bind=self.address.host,
            web_host=self.address.host,
            web_port=self.address.port,
            web_application_options={
                "middlewares": [
                    self._turns.middleware,
                    explained,
                    bounded,
                    self._guard.middleware,
                ],
                "client_max_size": REQUEST_BYTES,
            },
            web_router_enabled=False,
            web_tables_enabled=False,
            web_stats_enabled=False,
            web_graph_enabled=False,
            topic_allow_declare=False,
            topic_disable_leader=True,
            stream_wait_empty=False,
            **options,
        )
        for path, page in PAGES.items():
            self.page(path)(page)

    def _new_web(self) -> BoundedWeb:
        return BoundedWeb(self, Lookups(Reader(self.plane), self._turns, self._guard))

    async def on_first_start(self) -> None:
        """Faust's data folder is for tables of its own."""
        if self.tables:
            await super().on_first_start()

    async def on_stop(self) -> None:
        """The plane ends before the agents, so that slow ones take nothing of the time it has to commit."""
        self.feed.close()
        await self.plane_service.stop()
        await self.peers.close()
        await super().on_stop()

    def announce(self) -> None:
        """Before the plane starts: tell the group where this member serves HTTP, so that others can name the owner."""
        self.plane.settings = replace(self.plane.settings, client_id=self.address.advertised().as_client_id())

    def introduce(self) -> None:
        """The plane is started: say what runs, in the words of the configuration."""
        app = self.config
        if not (self.address.loopback or app.http_token):
            log.warning("whoever reaches http://%s may read all tables: set http_token in [app]", self.address)
        log.info("%s runs exactly once on %s, HTTP on http://%s", app.name, app.brokers, self.address)
        for table in app.tables.values():
            log.info("table %s: %s -> %s", table.name, table.stream.topic, app.output(table))
