-- Runs: turns, branches, workers and compactions, and the steps of each.

-- name: create
CREATE TABLE runs (
    tenant       text   NOT NULL,
    run_id       text   NOT NULL,
    kind         text,                        -- turn, branch, worker or compaction
    agent        text   NOT NULL,
    adapter      text   NOT NULL,
    conversation text   NOT NULL,
    seq          bigint NOT NULL,             -- first event of it
    parent       text,                        -- run that asked for it
    turn         text,                        -- turn that it came from
    task         jsonb,                       -- a string, or the reference of a body
    interactive  boolean,
    requested_at bigint,                      -- UTC microseconds, as every time here
    started_at   bigint,
    state        text,                        -- running or waiting; null before it has started
    owner        text,
    attempts     bigint,
    model        text,                        -- asked for at the start
    status       text,                        -- what the run last said of itself
    outcome      text,                        -- null until it has ended
    answer       text,                        -- of a turn: replied, skipped or silent
    result       jsonb,
    reason       text,
    ended_at     bigint,
    concluded_at bigint,                      -- when the conversation was told how it ended
    last_seq     bigint NOT NULL,
    last_at      bigint NOT NULL,
    PRIMARY KEY (tenant, run_id)
);

CREATE TABLE steps (
    tenant        text   NOT NULL,
    run_id        text   NOT NULL,
    kind          text   NOT NULL,            -- model or tool
    ref           text   NOT NULL,            -- number of the model call, id of the tool call
    seq           bigint NOT NULL,            -- first event of it
    event_id      text   NOT NULL,
    started_at    bigint,
    ended_at      bigint,                     -- null while it is at work
    status        text,                       -- called, then ok or what went wrong
    name          text,                       -- model that answered, or tool
    tools         text[],                     -- tools that the model asked for, in order
    finish        text,
    detail        text,
    input_tokens  bigint,
    output_tokens bigint,
    cached_tokens bigint,                     -- part of input_tokens
    cost_usd      double precision,           -- null where the price is not known
    duration_ms   bigint,                     -- as measured by the run
    PRIMARY KEY (tenant, run_id, kind, ref)
);

-- name: index
CREATE INDEX ON runs (tenant, agent, adapter, conversation, seq);
CREATE INDEX ON runs (tenant, seq);
CREATE INDEX ON runs (seq) WHERE concluded_at IS NULL;

-- name: run
SELECT r.tenant, r.run_id, r.kind, r.agent, r.adapter, r.conversation, r.seq,
       r.parent, r.turn, r.task, coalesce(r.interactive, false) AS interactive,
       r.requested_at, r.started_at,
       CASE WHEN r.outcome IS NOT NULL THEN 'ended'
            WHEN r.started_at IS NULL THEN 'requested'
            ELSE r.state END AS state,
       r.owner, coalesce(r.attempts, 0) AS attempts, r.model, r.status, r.outcome, r.answer,
       r.result, r.reason, r.ended_at, r.concluded_at, r.last_seq, r.last_at,
       s.model_calls, s.tool_calls, s.input_tokens, s.output_tokens, s.cached_tokens, s.cost_usd
FROM runs AS r
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE kind = 'model') AS model_calls,
           count(*) FILTER (WHERE kind = 'tool') AS tool_calls,
           coalesce(sum(input_tokens), 0)::bigint AS input_tokens,
           coalesce(sum(output_tokens), 0)::bigint AS output_tokens,
           coalesce(sum(cached_tokens), 0)::bigint AS cached_tokens,
           sum(cost_usd ORDER BY seq) AS cost_usd
    FROM steps
    WHERE steps.tenant = r.tenant AND steps.run_id = r.run_id
) AS s
WHERE r.kind IS NOT NULL

-- name: one
  AND r.tenant = %(tenant)s AND r.run_id = %(run_id)s;

-- name: of_conversation
  AND r.tenant = %(tenant)s AND r.agent = %(agent)s
  AND r.adapter = %(adapter)s AND r.conversation = %(conversation)s
  AND r.seq < %(before)s
ORDER BY r.seq DESC LIMIT %(limit)s;

-- name: of_turn
  AND r.tenant = %(tenant)s AND (r.run_id = %(turn)s OR r.turn = %(turn)s)
  AND r.agent = %(agent)s AND r.adapter = %(adapter)s AND r.conversation = %(conversation)s
ORDER BY r.seq;

-- name: listing
  AND r.tenant = %(tenant)s AND r.seq < %(before)s
  AND (%(kind)s::text IS NULL OR r.kind = %(kind)s)
  AND (NOT %(active)s OR r.outcome IS NULL)
ORDER BY r.seq DESC LIMIT %(limit)s;

-- name: stalled
  AND r.concluded_at IS NULL AND r.state IS DISTINCT FROM 'waiting' AND r.last_at < %(before_at)s
ORDER BY r.seq LIMIT %(limit)s;

-- name: open_counts
SELECT tenant, kind, CASE WHEN started_at IS NULL THEN 'requested' ELSE state END AS state,
       count(*) AS count
FROM runs
WHERE concluded_at IS NULL AND kind IS NOT NULL
GROUP BY 1, 2, 3
ORDER BY 1, 2, 3;

-- name: steps
SELECT kind, ref, seq, event_id, started_at, ended_at, status, name, tools, finish, detail,
       input_tokens, output_tokens, cached_tokens, cost_usd, duration_ms
FROM steps
WHERE tenant = %(tenant)s AND run_id = %(run_id)s AND seq > %(after)s
ORDER BY seq LIMIT %(limit)s;
