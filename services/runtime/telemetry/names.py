"""The names of OpenTelemetry that we speak, all of them, and of which version.

GenAI conventions live in a repository of their own and are in development; messaging is of the
core conventions, whose v1.44.0 they depend on. What begins with `penstock.` or `nats.` is ours.
"""

from collections.abc import Mapping
from typing import Final

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/gen-ai-dev/1.42.0-dev"
SCOPE: Final = "penstock"

# -- operations ------------------------------------------------------------------------------

OPERATION: Final = "gen_ai.operation.name"
INVOKE_WORKFLOW: Final = "invoke_workflow"
INVOKE_AGENT: Final = "invoke_agent"
CHAT: Final = "chat"
EXECUTE_TOOL: Final = "execute_tool"
SEARCH_MEMORY: Final = "search_memory"
RETRIEVAL: Final = "retrieval"
EMBEDDINGS: Final = "embeddings"
SEND: Final = "send"
PROCESS: Final = "process"

# -- GenAI attributes ------------------------------------------------------------------------

WORKFLOW: Final = "gen_ai.workflow.name"
AGENT_ID: Final = "gen_ai.agent.id"
AGENT_NAME: Final = "gen_ai.agent.name"
CONVERSATION: Final = "gen_ai.conversation.id"
PROVIDER: Final = "gen_ai.provider.name"
REQUEST_MODEL: Final = "gen_ai.request.model"
REQUEST_STREAM: Final = "gen_ai.request.stream"
RESPONSE_MODEL: Final = "gen_ai.response.model"
FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
FIRST_CHUNK: Final = "gen_ai.response.time_to_first_chunk"
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
CACHED_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"
TOOL_NAME: Final = "gen_ai.tool.name"
TOOL_TYPE: Final = "gen_ai.tool.type"
TOOL_CALL: Final = "gen_ai.tool.call.id"
STORE: Final = "gen_ai.memory.store.id"
RECORD_COUNT: Final = "gen_ai.memory.record.count"
DATA_SOURCE: Final = "gen_ai.data_source.id"
DIMENSIONS: Final = "gen_ai.embeddings.dimension.count"
TOKEN_TYPE: Final = "gen_ai.token.type"  # noqa: S105 - it counts, and opens nothing
ERROR: Final = "error.type"

# -- what was said: only where it is asked for -----------------------------------------------

INPUT_MESSAGES: Final = "gen_ai.input.messages"
OUTPUT_MESSAGES: Final = "gen_ai.output.messages"
TOOL_ARGUMENTS: Final = "gen_ai.tool.call.arguments"
TOOL_RESULT: Final = "gen_ai.tool.call.result"
MEMORY_QUERY: Final = "gen_ai.memory.query.text"
RETRIEVAL_QUERY: Final = "gen_ai.retrieval.query.text"

# -- messaging attributes --------------------------------------------------------------------

MESSAGING_SYSTEM: Final = "messaging.system"
MESSAGING_OPERATION: Final = "messaging.operation.name"
MESSAGING_OPERATION_TYPE: Final = "messaging.operation.type"
DESTINATION: Final = "messaging.destination.name"
DESTINATION_TEMPLATE: Final = "messaging.destination.template"
CONSUMER_GROUP: Final = "messaging.consumer.group.name"
SUBSCRIPTION: Final = "messaging.destination.subscription.name"
MESSAGE_ID: Final = "messaging.message.id"
MESSAGE_CORRELATION: Final = "messaging.message.conversation_id"
MESSAGE_BYTES: Final = "messaging.message.body.size"
NATS: Final = "nats"
NATS_STREAM: Final = "nats.stream"
NATS_SEQUENCE: Final = "nats.stream.sequence"
NATS_DELIVERIES: Final = "nats.delivery.count"

# -- ours ------------------------------------------------------------------------------------

TENANT: Final = "penstock.tenant"
ADAPTER: Final = "penstock.adapter"
JOB: Final = "penstock.job"
TRIGGER: Final = "penstock.trigger"
RUN: Final = "penstock.run.id"
RUN_KIND: Final = "penstock.run.kind"
RUN_PARENT: Final = "penstock.run.parent"
ATTEMPTS: Final = "penstock.run.attempts"
OUTCOME: Final = "penstock.outcome"
TURN: Final = "penstock.turn.id"
STEP: Final = "penstock.step"
COST: Final = "penstock.cost_usd"
STATUS: Final = "penstock.tool.status"
TEXTS: Final = "penstock.embeddings.texts"
EVENT: Final = "penstock.event.id"
EVENT_TYPE: Final = "penstock.event.type"
ACTOR: Final = "penstock.actor"
DUE_AT: Final = "penstock.occurrence.due_at"
REASON: Final = "penstock.occurrence.reason"
POLICY: Final = "penstock.occurrence.policy"
DOWN_FROM: Final = "penstock.scheduler.down_from"
DOWN_TO: Final = "penstock.scheduler.down_to"
DELIVERY: Final = "penstock.delivery.outcome"
PROJECTION: Final = "penstock.projection"
REPLAY: Final = "penstock.replay"
DIVERGED: Final = "penstock.replay.diverged"

# -- metrics ---------------------------------------------------------------------------------

TOKEN_USAGE: Final = "gen_ai.client.token.usage"  # noqa: S105 - likewise
OPERATION_DURATION: Final = "gen_ai.client.operation.duration"
TIME_TO_FIRST_CHUNK: Final = "gen_ai.client.operation.time_to_first_chunk"
WORKFLOW_DURATION: Final = "gen_ai.workflow.duration"
AGENT_DURATION: Final = "gen_ai.invoke_agent.duration"
TOOL_DURATION: Final = "gen_ai.execute_tool.duration"
SENT_DURATION: Final = "messaging.client.operation.duration"
SENT_MESSAGES: Final = "messaging.client.sent.messages"
CONSUMED_MESSAGES: Final = "messaging.client.consumed.messages"
PROCESS_DURATION: Final = "messaging.process.duration"
TURN_LATENCY: Final = "penstock.turn.latency"
CLIENT_COST: Final = "penstock.client.cost"
OCCURRENCES: Final = "penstock.occurrences"
CONSUMER_LAG: Final = "penstock.consumer.lag"
PROJECTION_LAG: Final = "penstock.projection.lag"

UNITS: Final[Mapping[str, str]] = {
    TOKEN_USAGE: "{token}",
    OPERATION_DURATION: "s",
    TIME_TO_FIRST_CHUNK: "s",
    WORKFLOW_DURATION: "s",
    AGENT_DURATION: "s",
    TOOL_DURATION: "s",
    SENT_DURATION: "s",
    SENT_MESSAGES: "{message}",
    CONSUMED_MESSAGES: "{message}",
    PROCESS_DURATION: "s",
    TURN_LATENCY: "s",
    CLIENT_COST: "USD",
    OCCURRENCES: "{occurrence}",
    CONSUMER_LAG: "{event}",
    PROJECTION_LAG: "{event}",
}
COUNTERS: Final = frozenset({SENT_MESSAGES, CONSUMED_MESSAGES, CLIENT_COST, OCCURRENCES})
GAUGES: Final = frozenset({CONSUMER_LAG, PROJECTION_LAG})
BUCKETS_S: Final = (
    *(0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64),
    *(1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92),
)  # as the GenAI conventions advise
BUCKETS_TOKENS: Final = tuple(4**power for power in range(14))  # likewise

PROVIDERS: Final[Mapping[str, str]] = {
    "gemini": "gcp.gemini",
    "vertex_ai": "gcp.vertex_ai",
    "bedrock": "aws.bedrock",
    "azure": "azure.ai.openai",
    "mistral": "mistral_ai",
    "xai": "x_ai",
}
"""Well-known names of providers where they differ from the first part of our names of models."""


def provider_and_model(name: str) -> tuple[str, str]:
    """Return what the conventions call the parts of `provider/name`."""
    provider, slash, model = name.partition("/")
    return (PROVIDERS.get(provider, provider), model) if slash else ("_OTHER", name)
