-- Memories: what each agent remembers, and the words to find it by.

-- name: create
CREATE TABLE memories (
    tenant        text NOT NULL,
    agent         text NOT NULL,
    memory_id     text NOT NULL,
    seq           bigint,                     -- when it was saved; null until it is, as are the next
    saved_at      bigint,                     -- UTC microseconds
    kind          text,
    text          jsonb,                      -- a string, or the reference of a body
    importance    double precision,           -- from 0, noise, to 1, defining
    scope         text,                       -- person, channel, agent or tenant
    person        text,
    conversation  text,                       -- adapter/conversation
    source        text,                       -- event that it was learned from
    run_id        text,
    forgotten_at  bigint,
    forgotten_why text,
    words         tsvector GENERATED ALWAYS AS (
        to_tsvector('english', CASE jsonb_typeof(text) WHEN 'string' THEN text #>> '{}' END)
    ) STORED,
    PRIMARY KEY (tenant, agent, memory_id)
);

-- name: index
CREATE INDEX ON memories USING gin (words);
CREATE INDEX ON memories (tenant, agent, seq);

-- name: columns
agent, memory_id, seq, saved_at, kind, text, importance, scope, person, conversation, source,
run_id, forgotten_at, forgotten_why

-- name: by_id
SELECT :columns FROM memories
WHERE tenant = %(tenant)s AND agent = %(agent)s AND memory_id = %(memory_id)s
  AND seq IS NOT NULL;

-- name: listing
SELECT :columns FROM memories
WHERE tenant = %(tenant)s AND agent = %(agent)s AND seq < %(before)s
  AND (%(kind)s::text IS NULL OR kind = %(kind)s)
  AND (%(forgotten)s OR forgotten_at IS NULL)
ORDER BY seq DESC LIMIT %(limit)s;

-- name: visible
tenant = %(tenant)s
  AND (agent = %(agent)s OR scope = 'tenant')
  AND seq IS NOT NULL AND forgotten_at IS NULL
  AND (%(kind)s::text IS NULL OR kind = %(kind)s)
  AND (%(everyone)s
       OR scope IN ('agent', 'tenant')
       OR scope = 'person' AND person = %(person)s
       OR scope = 'channel' AND conversation = %(conversation)s)

-- name: recent
SELECT :columns FROM memories
WHERE :visible
ORDER BY seq DESC LIMIT %(limit)s;

-- name: important
SELECT :columns FROM memories
WHERE :visible
ORDER BY importance DESC, seq DESC LIMIT %(limit)s;

-- name: relevant
-- Any word is enough. BM25 with k1 = 1.2 and b = 0.75, each word counted once, for memories are
-- short; a word is as rare as it is among what was found, for counting the rest takes too long.
WITH asked AS (
    SELECT array_agg(term) AS terms, string_agg(term::text, ' | ')::tsquery AS any_of_them
    FROM unnest(to_tsvector('english', %(query)s)), plainto_tsquery('simple', lexeme) AS term
),
found AS MATERIALIZED (
    SELECT agent, memory_id, seq, importance, words, length(words) AS size
    FROM memories
    WHERE :visible
      AND words @@ (SELECT any_of_them FROM asked)
),
matches AS MATERIALIZED (
    SELECT agent, memory_id, seq, importance, size, number
    FROM found, unnest((SELECT terms FROM asked)) WITH ORDINALITY AS asked_for (term, number)
    WHERE words @@ term
),
weights AS (
    SELECT number, ln(1 + (SELECT count(*) FROM found)::float8 / count(*)) AS weight
    FROM matches GROUP BY number
),
best AS (
    SELECT agent, memory_id, seq, importance,
           sum(weight) / (1 + 1.2 * (0.25 + 0.75 * size / (SELECT avg(size) FROM found)))::float8
               AS score
    FROM matches JOIN weights USING (number)
    GROUP BY agent, memory_id, seq, importance, size
    ORDER BY score DESC, importance DESC, seq DESC LIMIT %(limit)s
)
SELECT :columns
FROM best JOIN memories USING (agent, memory_id, seq, importance)
WHERE tenant = %(tenant)s
ORDER BY score DESC, importance DESC, seq DESC;

-- name: terms
SELECT EXISTS (SELECT FROM unnest(to_tsvector('english', %(query)s)));
