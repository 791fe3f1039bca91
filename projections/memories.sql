-- Memories: what each agent remembers, the words to find it by, and how it was used.

-- name: create
CREATE TABLE memories (
    tenant        text NOT NULL,
    memory_id     text NOT NULL,
    agent         text,                       -- who saved it; null until it is, as are the next
    seq           bigint,                     -- when it was saved
    saved_at      bigint,                     -- UTC microseconds, as every time here
    kind          text,
    text          jsonb,                      -- a string, or the reference of a body
    importance    double precision,           -- from 0, noise, to 1, defining
    scope         text,                       -- person, channel, agent or tenant
    person        text,
    conversation  text,                       -- adapter/conversation
    source        text,                       -- event that it was learned from
    run_id        text,
    valid_from    bigint,
    valid_to      bigint,                     -- null until another replaces it, as are the next
    replaced_by   text,
    replaced_why  text,                       -- duplicate, contradiction or correction
    forgotten_at  bigint,
    forgotten_why text,
    words         tsvector GENERATED ALWAYS AS (
        to_tsvector('english', CASE jsonb_typeof(text) WHEN 'string' THEN text #>> '{}' END)
    ) STORED,
    PRIMARY KEY (tenant, memory_id)
);

CREATE TABLE memory_edges (
    tenant    text   NOT NULL,
    memory_id text   NOT NULL,
    to_id     text   NOT NULL,
    relation  text   NOT NULL,                -- related_to, updates, contradicts, caused_by, …
    weight    double precision NOT NULL,      -- from 0, loose, to 1, firm
    seq       bigint NOT NULL,                -- of the first event that linked the two
    linked_at bigint NOT NULL,
    PRIMARY KEY (tenant, memory_id, to_id, relation)
);

CREATE TABLE memory_uses (
    tenant       text   NOT NULL,
    event_id     text   NOT NULL,
    seq          bigint NOT NULL,
    at           bigint NOT NULL,
    kind         text   NOT NULL,             -- touched: said again; recalled: shown to a model
    memory_ids   text[] NOT NULL,
    run_id       text,
    person       text,                        -- who said it again
    conversation text,
    PRIMARY KEY (tenant, event_id)
);

CREATE TABLE memory_totals (
    tenant      text   NOT NULL,
    memory_id   text   NOT NULL,
    touches     bigint NOT NULL,
    touched_at  bigint,
    recalls     bigint NOT NULL,
    recalled_at bigint,
    PRIMARY KEY (tenant, memory_id)
);

-- name: index
CREATE INDEX ON memories USING gin (words);
CREATE INDEX ON memories (tenant, agent, seq);
CREATE INDEX ON memory_edges (tenant, to_id);

-- name: add_uses
WITH added AS (
    INSERT INTO memory_uses
    SELECT * FROM json_populate_recordset(NULL::memory_uses, %(rows)s::json)
    ON CONFLICT DO NOTHING
    RETURNING tenant, kind, at, memory_ids
)
INSERT INTO memory_totals AS t (tenant, memory_id, touches, touched_at, recalls, recalled_at)
SELECT tenant, memory_id,
       count(*) FILTER (WHERE kind = 'touched'), max(at) FILTER (WHERE kind = 'touched'),
       count(*) FILTER (WHERE kind = 'recalled'), max(at) FILTER (WHERE kind = 'recalled')
FROM added, unnest(memory_ids) AS memory_id
GROUP BY tenant, memory_id
ON CONFLICT (tenant, memory_id) DO UPDATE
SET touches = t.touches + excluded.touches,
    touched_at = greatest(t.touched_at, excluded.touched_at),
    recalls = t.recalls + excluded.recalls,
    recalled_at = greatest(t.recalled_at, excluded.recalled_at);

-- name: columns
agent, memory_id, seq, saved_at, kind, text, importance, scope, person, conversation, source,
run_id, forgotten_at, forgotten_why, valid_from, valid_to, replaced_by, replaced_why,
coalesce(touches, 0) AS touches, touched_at, coalesce(recalls, 0) AS recalls, recalled_at

-- name: by_id
SELECT :columns FROM memories LEFT JOIN memory_totals USING (tenant, memory_id)
WHERE tenant = %(tenant)s AND agent = %(agent)s AND memory_id = %(memory_id)s;

-- name: listing
SELECT :columns FROM memories LEFT JOIN memory_totals USING (tenant, memory_id)
WHERE tenant = %(tenant)s AND agent = %(agent)s AND seq < %(before)s
  AND (%(kind)s::text IS NULL OR kind = %(kind)s)
  AND (%(persons)s::text[] IS NULL OR person = ANY (%(persons)s))
  AND (%(replaced)s OR replaced_by IS NULL)
  AND (%(forgotten)s OR forgotten_at IS NULL)
ORDER BY seq DESC LIMIT %(limit)s;

-- name: edges
SELECT memory_id, to_id, relation, weight, seq, linked_at FROM memory_edges
WHERE tenant = %(tenant)s
  AND (memory_id = ANY (%(memory_ids)s) OR to_id = ANY (%(memory_ids)s))
ORDER BY weight DESC, seq, memory_id, to_id, relation;

-- name: visible
tenant = %(tenant)s
  AND (agent = %(agent)s OR scope = 'tenant')
  AND replaced_by IS NULL AND forgotten_at IS NULL
  AND (%(kind)s::text IS NULL OR kind = %(kind)s)
  AND (%(scope)s::text IS NULL OR scope = %(scope)s)
  AND (%(everyone)s
       OR scope IN ('agent', 'tenant')
       OR scope = 'person' AND person = ANY (%(persons)s)
       OR scope = 'channel' AND conversation = %(conversation)s)

-- name: recent
SELECT :columns FROM memories LEFT JOIN memory_totals USING (tenant, memory_id)
WHERE :visible
ORDER BY seq DESC LIMIT %(limit)s;

-- name: important
SELECT :columns FROM memories LEFT JOIN memory_totals USING (tenant, memory_id)
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
    SELECT memory_id, seq, importance, words, length(words) AS size
    FROM memories
    WHERE :visible
      AND words @@ (SELECT any_of_them FROM asked)
),
matches AS MATERIALIZED (
    SELECT memory_id, seq, importance, size, number
    FROM found, unnest((SELECT terms FROM asked)) WITH ORDINALITY AS asked_for (term, number)
    WHERE words @@ term
),
weights AS (
    SELECT number, ln(1 + (SELECT count(*) FROM found)::float8 / count(*)) AS weight
    FROM matches GROUP BY number
),
best AS (
    SELECT memory_id, seq, importance,
           sum(weight) / (1 + 1.2 * (0.25 + 0.75 * size / (SELECT avg(size) FROM found)))::float8
               AS score
    FROM matches JOIN weights USING (number)
    GROUP BY memory_id, seq, importance, size
    ORDER BY score DESC, importance DESC, seq DESC LIMIT %(limit)s
)
SELECT :columns
FROM best JOIN memories USING (memory_id, seq, importance)
LEFT JOIN memory_totals USING (tenant, memory_id)
WHERE tenant = %(tenant)s
ORDER BY score DESC, importance DESC, seq DESC;

-- name: terms
SELECT EXISTS (SELECT FROM unnest(to_tsvector('english', %(query)s)));
