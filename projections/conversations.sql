-- Conversations: one row each, with everything that was said in them.

-- name: create
CREATE TABLE conversations (
    tenant       text   NOT NULL,
    agent        text   NOT NULL,
    adapter      text   NOT NULL,
    conversation text   NOT NULL,
    started_at   bigint NOT NULL,             -- UTC microseconds, as every time here
    last_at      bigint NOT NULL,             -- any activity
    last_seq     bigint NOT NULL,
    open_turn    text,                        -- '' when the last one has ended
    received     bigint NOT NULL DEFAULT 0,   -- messages from people
    sent         bigint NOT NULL DEFAULT 0,   -- replies and files from the agent
    fork_of      text,                        -- adapter/conversation whose history it shares
    forked_at    text,                        -- the last event that is shared
    PRIMARY KEY (tenant, agent, adapter, conversation)
);

CREATE TABLE messages (
    tenant       text   NOT NULL,
    agent        text   NOT NULL,
    adapter      text   NOT NULL,
    conversation text   NOT NULL,
    event_id     text   NOT NULL,
    seq          bigint NOT NULL,
    at           bigint NOT NULL,
    role         text   NOT NULL,             -- person, agent, file or reaction
    author_id    text,                        -- null for the agent
    author_name  text,
    text         jsonb,                       -- a string, or the reference of a body; or a caption
    message_id   text,                        -- the platform's own id
    reply_to     text,                        -- platform id of the message that this refers to
    name         text,                        -- of a file
    body         jsonb,                       -- of a file
    attachments  jsonb,
    turn_id      text,
    PRIMARY KEY (tenant, event_id)
);

-- name: index
CREATE INDEX ON conversations (tenant, last_seq);
CREATE INDEX ON messages (tenant, agent, adapter, conversation, seq);

-- name: add_messages
WITH added AS (
    INSERT INTO messages
    SELECT * FROM json_populate_recordset(NULL::messages, %(rows)s::json)
    ON CONFLICT DO NOTHING
    RETURNING tenant, agent, adapter, conversation, role
)
UPDATE conversations AS c
SET received = c.received + counted.received,
    sent = c.sent + counted.sent
FROM (
    SELECT tenant, agent, adapter, conversation,
           count(*) FILTER (WHERE role = 'person') AS received,
           count(*) FILTER (WHERE role IN ('agent', 'file')) AS sent
    FROM added
    GROUP BY tenant, agent, adapter, conversation
) AS counted
WHERE (c.tenant, c.agent, c.adapter, c.conversation)
    = (counted.tenant, counted.agent, counted.adapter, counted.conversation);

-- name: listing
SELECT agent, adapter, conversation, started_at, last_at, last_seq,
       nullif(open_turn, '') AS open_turn, received, sent, fork_of, forked_at
FROM conversations
WHERE tenant = %(tenant)s AND last_seq < %(before)s
  AND (%(agent)s::text IS NULL OR agent = %(agent)s)
  AND (%(adapter)s::text IS NULL OR adapter = %(adapter)s)
ORDER BY last_seq DESC LIMIT %(limit)s;

-- name: one
SELECT agent, adapter, conversation, started_at, last_at, last_seq,
       nullif(open_turn, '') AS open_turn, received, sent, fork_of, forked_at
FROM conversations
WHERE tenant = %(tenant)s AND agent = %(agent)s
  AND adapter = %(adapter)s AND conversation = %(conversation)s;

-- name: find
SELECT agent, adapter, conversation FROM messages
WHERE tenant = %(tenant)s AND role = 'person'
  AND (message_id = %(ref)s OR event_id LIKE %(ref)s || '%%')
ORDER BY seq DESC LIMIT 1;

-- name: messages
SELECT event_id, seq, at, role, author_id, author_name, text, message_id, reply_to, name, body,
       attachments, turn_id
FROM messages
WHERE tenant = %(tenant)s AND agent = %(agent)s
  AND adapter = %(adapter)s AND conversation = %(conversation)s
  AND seq > %(after)s
ORDER BY seq LIMIT %(limit)s;

-- name: messages_before
SELECT event_id, seq, at, role, author_id, author_name, text, message_id, reply_to, name, body,
       attachments, turn_id
FROM messages
WHERE tenant = %(tenant)s AND agent = %(agent)s
  AND adapter = %(adapter)s AND conversation = %(conversation)s
  AND seq < %(before)s
ORDER BY seq DESC LIMIT %(limit)s;
