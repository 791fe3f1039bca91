-- Activity: what happened around each agent that everybody may know, and what the cortex has to do.

-- name: create
CREATE TABLE activity (
    tenant       text NOT NULL,
    agent        text NOT NULL,
    ref          text NOT NULL,               -- run, memory or event
    seq          bigint,                      -- null until it happened, as is the rest
    at           bigint,                      -- UTC microseconds; null while it is not done
    kind         text,                        -- message, worker, file, failure or memory
    adapter      text,
    conversation text,
    who          text,                        -- id of the person whom it came from
    text         text,                        -- its beginning, on one line
    outcome      text,
    memory_kind  text,
    importance   double precision,            -- from 0, noise, to 1, defining
    scope        text,                        -- agent or tenant, of a memory
    gone_at      bigint,                      -- when it was forgotten or replaced
    PRIMARY KEY (tenant, agent, ref)
);

CREATE TABLE places (
    tenant       text NOT NULL,
    agent        text NOT NULL,
    adapter      text NOT NULL,
    conversation text NOT NULL,
    open_seq     bigint,                      -- last message in the open
    closed_seq   bigint,                      -- last message that was not
    said_at      bigint,                      -- of the last message in the open, as the next two
    said_by      text,
    said         text,
    PRIMARY KEY (tenant, agent, adapter, conversation)
);

CREATE TABLE pulses (
    tenant   text   NOT NULL,
    agent    text   NOT NULL,
    seq      bigint NOT NULL,                 -- last event that matters
    told_seq bigint,                          -- the same without what the cortex wrote
    PRIMARY KEY (tenant, agent)
);

CREATE TABLE unlinked (
    tenant        text NOT NULL,
    agent         text NOT NULL,
    memory_id     text NOT NULL,
    seq           bigint,                     -- of memory_saved
    associated_at bigint,                     -- when it was compared; null until then
    PRIMARY KEY (tenant, agent, memory_id)
);

-- name: index
CREATE INDEX ON activity (tenant, agent, at);
CREATE INDEX ON activity (tenant, importance DESC, seq) WHERE kind = 'memory' AND gone_at IS NULL;
CREATE INDEX ON activity (tenant, agent, adapter, conversation, seq) WHERE kind = 'message';
CREATE INDEX ON unlinked (tenant, agent, seq) WHERE associated_at IS NULL;

-- name: open
-- A conversation's row counts when there is a message in the open before it, and none that was not
-- in the open behind that.
(a.conversation IS NULL
 OR EXISTS (
    SELECT FROM places AS p
    JOIN activity AS m
      ON m.tenant = p.tenant AND m.agent = p.agent
     AND m.adapter = p.adapter AND m.conversation = p.conversation
     AND m.kind = 'message' AND m.seq > coalesce(p.closed_seq, 0)
    WHERE p.tenant = a.tenant AND p.agent = a.agent
      AND p.adapter = a.adapter AND p.conversation = a.conversation
      AND m.seq <= a.seq
 ))

-- name: happened
a.tenant = %(tenant)s AND a.agent = %(agent)s
  AND a.at >= %(begin)s AND a.at < %(until)s AND a.gone_at IS NULL
  AND :open

-- name: columns
a.ref, a.seq, a.at, a.kind, a.adapter, a.conversation, a.who, a.text, a.outcome, a.memory_kind,
a.importance

-- name: between
SELECT :columns FROM activity AS a
WHERE a.kind <> 'message' AND :happened
ORDER BY a.at DESC, a.seq DESC LIMIT %(limit)s;

-- name: said
SELECT count(*) AS messages, count(DISTINCT (a.adapter, a.conversation)) AS conversations
FROM activity AS a
WHERE a.kind = 'message' AND :happened;

-- name: first_since
SELECT a.at FROM activity AS a
WHERE a.tenant = %(tenant)s AND a.agent = %(agent)s AND a.at >= %(begin)s AND a.gone_at IS NULL
  AND :open
ORDER BY a.at LIMIT 1;

-- name: remembered
SELECT :columns FROM activity AS a
WHERE a.tenant = %(tenant)s AND (a.agent = %(agent)s OR a.scope = 'tenant')
  AND a.kind = 'memory' AND a.gone_at IS NULL
  AND (%(kinds)s::text[] IS NULL OR a.memory_kind = ANY(%(kinds)s))
ORDER BY a.importance DESC, a.seq LIMIT %(limit)s;

-- name: gone
SELECT ref FROM activity
WHERE tenant = %(tenant)s AND ref = ANY(%(refs)s) AND gone_at IS NOT NULL;

-- name: places
SELECT adapter, conversation, said_at, said_by, said FROM (
    SELECT adapter, conversation, said_at, said_by, said FROM places
    WHERE tenant = %(tenant)s AND agent = %(agent)s AND said_at >= %(since)s
      AND open_seq > coalesce(closed_seq, 0)
    ORDER BY said_at DESC LIMIT %(limit)s
) AS newest
ORDER BY adapter, conversation;

-- name: pulses
SELECT tenant, agent, seq, coalesce(told_seq, 0) AS told_seq FROM pulses ORDER BY tenant, agent;

-- name: unlinked
SELECT memory_id, seq FROM unlinked
WHERE tenant = %(tenant)s AND agent = %(agent)s AND associated_at IS NULL AND seq IS NOT NULL
ORDER BY seq LIMIT %(limit)s;

-- name: with_unlinked
SELECT tenant, agent, max(seq) AS seq FROM unlinked
WHERE associated_at IS NULL AND seq IS NOT NULL
GROUP BY tenant, agent ORDER BY tenant, agent;
