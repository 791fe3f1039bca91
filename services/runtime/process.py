"""What one process of ours is made of, put together from the configuration."""

import asyncio
import os
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from services.runtime import agents, ids
from services.runtime.agents import Agent, Agents
from services.runtime.bodies import CachedBodies
from services.runtime.budgets.budget import Budget
from services.runtime.budgets.spending import Spending
from services.runtime.cancelling import end
from services.runtime.clock import Clock, SystemClock
from services.runtime.config import Config, GuardThresholds
from services.runtime.conversations import Conversations, Snapshots
from services.runtime.database import Pool, connect
from services.runtime.embedded.servers import Urls
from services.runtime.embedding import Embedder
from services.runtime.fast_embedder import FastEmbedder
from services.runtime.jetstream.bodies import JetStreamBodies
from services.runtime.jetstream.connection import Connection
from services.runtime.jetstream.cooldowns import SharedCooldowns
from services.runtime.jetstream.live import NatsLive
from services.runtime.jetstream.log import JetStreamLog
from services.runtime.jetstream.snapshots import JetStreamSnapshots
from services.runtime.litellm_model import LiteLLMModel
from services.runtime.loop_guard import Thresholds
from services.runtime.model_access import Access
from services.runtime.model_choice import OFFLINE_MODEL, Choice, detect
from services.runtime.model_prices import ChainPrices
from services.runtime.offline import OfflineModel
from services.runtime.router import MAX_FALLBACKS, RetryPolicy, Router
from services.runtime.run_loop import Equipment
from services.runtime.sandbox import Available, Limits, Sandbox, Unavailable, probe
from services.runtime.sandbox.workspace import Workspace
from services.runtime.secret import Secret
from services.runtime.settings import foreign
from services.runtime.telemetry import environment
from services.runtime.telemetry.embedding import measured
from services.runtime.telemetry.provider import provided
from services.runtime.writer import Writer

log = structlog.get_logger()


@dataclass(slots=True)
class Process:
    """Connections and everything that is shared by the services of one process."""

    config: Config
    clock: Clock
    connection: Connection
    log: JetStreamLog
    bodies: CachedBodies
    live: NatsLive
    snapshots: JetStreamSnapshots
    pool: Pool
    embedder: Embedder
    conversations: Conversations
    agents: Agents
    equipment: Equipment
    choice: Choice
    """The model that is used where an agent names none, and why."""
    sandbox: Available | Unavailable
    stopping: asyncio.Event
    budgets: Spending | None = None
    """None where there is no budget."""
    owner: str = field(default_factory=lambda: ids.owner("process"))
    _sandboxes: dict[tuple[str, str], Sandbox] = field(default_factory=dict)
    _workspaces: dict[tuple[str, str], Workspace] = field(default_factory=dict)

    @property
    def pid(self) -> int:
        """Return the id of this process."""
        return os.getpid()

    @property
    def sandbox_summary(self) -> str:
        """Say in a sentence whether commands can run."""
        if isinstance(self.sandbox, Unavailable):
            return str(self.sandbox)
        return f"available ({self.sandbox.version})"

    def writer(self, actor: str) -> Writer:
        """Return a writer in the name of `actor`."""
        return Writer(self.log, self.clock, actor)

    def workspace(self, tenant: str, agent: str) -> Workspace:
        """Return the agent's workspace."""
        key = (tenant, agent)
        if key not in self._workspaces:
            workspace = Workspace(self._place(tenant, agent))
            workspace.prepare()
            self._workspaces[key] = workspace
        return self._workspaces[key]

    def sandbox_of(self, tenant: str, agent: str) -> Sandbox | Unavailable:
        """Return where the agent's commands run, or why they cannot."""
        if isinstance(self.sandbox, Unavailable):
            return self.sandbox
        key = (tenant, agent)
        if key not in self._sandboxes:
            settings = self.config.sandbox
            self._sandboxes[key] = Sandbox(
                self.sandbox.path,
                self._place(tenant, agent),
                Limits(
                    cpu_s=settings.cpu_s,
                    memory_bytes=settings.memory_bytes,
                    processes=settings.processes,
                    file_bytes=settings.file_bytes,
                ),
                network=settings.network,
                read_only_paths=settings.read_only_paths,
            )
        return self._sandboxes[key]

    def _place(self, tenant: str, agent: str) -> Path:
        return (Path(self.config.data_dir) / "workspaces" / tenant / agent).absolute()

    async def pause(self, seconds: float) -> None:
        """Wait, but not longer than until this process is asked to stop."""
        sleeping = asyncio.ensure_future(self.clock.sleep(seconds))
        stopping = asyncio.ensure_future(self.stopping.wait())
        try:
            await asyncio.wait({sleeping, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await end(sleeping, stopping)

    async def until_stopping(self, work: Coroutine[Any, Any, None]) -> None:
        """Do work that never ends, until this process is asked to stop."""
        doing = asyncio.create_task(work)
        stopping = asyncio.create_task(self.stopping.wait())
        try:
            await asyncio.wait({doing, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if doing.done():
                await doing
        finally:
            await end(stopping, doing)

    async def define_agents(self) -> None:
        """Put the agents of the configuration on the log, where they differ from it."""
        for id_, settings in self.config.agents.items():
            agent = Agent(
                tenant=self.config.tenant,
                id=id_,
                name=settings.name or id_,
                instructions=settings.instructions,
                model=settings.model,
            )
            await agents.define(self.writer("config"), agent)


@asynccontextmanager
async def opened(config: Config, urls: Urls, *, actor: str = "penstock") -> AsyncIterator[Process]:
    """Connect to everything, make the stream and the buckets if need be, and close at the end.

    Raises:
        LogUnavailable: NATS does not answer.
    """
    clock = SystemClock()
    stopping = asyncio.Event()
    async with AsyncExitStack() as stack:
        otel, owner = foreign(environment.PREFIX), ids.owner("process")
        telemetry = provided(otel, config.telemetry, clock, instance=owner)
        await stack.enter_async_context(telemetry)
        connection = await Connection.open(urls.nats, name=actor)
        stack.push_async_callback(connection.close)
        event_log = JetStreamLog(connection, ack_wait_s=config.log.ack_wait_s)
        stored = JetStreamBodies(connection)
        snapshots = JetStreamSnapshots(connection)
        replicas = config.log.replicas
        await event_log.create(replicas=replicas)
        await stored.create(replicas=replicas)
        await snapshots.create(replicas=replicas)
        pool = await connect(
            urls.database,
            most=config.postgres.max_connections,
            wait_s=config.postgres.timeout_s,
        )
        stack.push_async_callback(pool.close)
        providers = LiteLLMModel(_access(config))
        stack.push_async_callback(providers.aclose)
        choice = await detect(configured_keys(config), config.models.ollama_url, config.model)
        bodies = CachedBodies(stored)
        live = NatsLive(connection)
        policy = RetryPolicy(
            fallbacks=config.models.fallbacks,
            attempts=config.models.retries,
            backoff_ms=config.models.backoff_ms,
            cooldown_s=config.models.cooldown_s,
        )
        cooldowns = SharedCooldowns(connection, clock)
        following = asyncio.create_task(cooldowns.follow(replicas=replicas))
        stack.push_async_callback(end, following)
        router = Router(providers, OfflineModel(), policy=policy, clock=clock, cooldowns=cooldowns)
        budgets = spending(config, Writer(event_log, clock, "budgets"), providers, snapshots)
        if choice.model != OFFLINE_MODEL:
            warming = asyncio.create_task(providers.warm())
            stack.callback(warming.cancel)
        yield Process(
            config=config,
            clock=clock,
            connection=connection,
            log=event_log,
            bodies=bodies,
            live=live,
            snapshots=snapshots,
            pool=pool,
            embedder=measured(embedder(config, clock)),
            conversations=Conversations(event_log, snapshots, keep=config.channel.history_entries),
            agents=Agents(event_log, clock),
            equipment=Equipment(
                bodies=bodies,
                model=router,
                live=live,
                clock=clock,
                stopping=stopping,
                tool_output_bytes=config.worker.tool_output_bytes,
                step_s=config.worker.inactivity_timeout_s,
                max_output_tokens=config.models.max_output_tokens,
                context_window_tokens=config.models.context_window_tokens,
                budgets=budgets,
            ),
            choice=choice,
            sandbox=await probe(),
            stopping=stopping,
            budgets=budgets,
            owner=owner,
        )


def spending(
    config: Config, writer: Writer, providers: LiteLLMModel, snapshots: Snapshots
) -> Spending | None:
    """Return where the configuration's budgets are; None where it has none."""
    if not config.budgets:
        return None
    budgets = [
        Budget(
            name,
            one.tenant or config.tenant,
            one.per,
            agent=one.agent,
            job=one.job,
            usd=one.usd,
            tokens=one.tokens,
            calls=one.calls,
        )
        for name, one in config.budgets.items()
    ]
    fallbacks = config.models.fallbacks[:MAX_FALLBACKS]
    return Spending(
        writer,
        budgets,
        ChainPrices(providers.most_usd, fallbacks),
        zone=config.cortex.time_zone,
        unpriced_is_free=config.models.unpriced == "free",
        snapshots=snapshots,
    )


def embedder(config: Config, clock: Clock) -> Embedder:
    """Return the embedder of the configuration; it loads its model when it is first needed."""
    return FastEmbedder(config.embeddings, config.data_dir / "models", clock)


def configured_keys(config: Config) -> dict[str, Secret]:
    """Return the keys that are set, by provider."""
    named = {
        "anthropic": config.models.anthropic_api_key,
        "openai": config.models.openai_api_key,
        "openrouter": config.models.openrouter_api_key,
        "gemini": config.models.gemini_api_key,
    }
    return {provider: key for provider, key in named.items() if key is not None}


def _access(config: Config) -> Access:
    bases = {"ollama": config.models.ollama_url}
    if config.models.api_base is not None:
        bases["openai"] = config.models.api_base
    return Access(keys=configured_keys(config), bases=bases, total_s=config.models.timeout_s)


def thresholds(settings: GuardThresholds) -> Thresholds:
    """Return the loop guard's thresholds of one kind of run."""
    return Thresholds(
        warn_identical=settings.identical_warn,
        block_identical=settings.identical_block,
        poll_factor=settings.poll_multiplier,
        warn_same_outcome=settings.outcome_warn,
        block_same_outcome=settings.outcome_block,
        ping_pong=settings.ping_pong_repeats,
        patience=settings.max_warnings,
    )
