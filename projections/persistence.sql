-- Persistence: one row per conversation, how far people talked and how far was looked.

-- name: create
CREATE TABLE persistence (
    tenant        text   NOT NULL,
    agent         text   NOT NULL,
    adapter       text   NOT NULL,
    conversation  text   NOT NULL,
    said_seq      bigint,                     -- newest message of a person; null until there is one
    said_at       bigint,                     -- UTC microseconds
    requested_seq bigint,                     -- newest request of a persistence branch
    last_seq      bigint NOT NULL,            -- newest event that a decision may depend on
    PRIMARY KEY (tenant, agent, adapter, conversation)
);

-- name: index
CREATE INDEX ON persistence (said_seq) WHERE said_seq > coalesce(requested_seq, 0);

-- name: pending
SELECT tenant, agent, adapter, conversation, said_seq, last_seq
FROM persistence
WHERE said_seq > coalesce(requested_seq, 0)
  AND said_at >= %(said_since)s AND said_seq > %(after)s
ORDER BY said_seq LIMIT %(limit)s;
