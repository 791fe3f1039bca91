-- Memories: what each agent remembers, the words to find it by, and how it was used.

-- name: searched
-- What a memory is found by: its text, and the name of who said it where the id is a name.
to_tsvector('english',
    coalesce(CASE jsonb_typeof(text) WHEN 'string' THEN text #>> '{}' END, '')
    || ' ' || coalesce(split_part(person, ':', 2), ''))

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
    -- The tenant is among them, so that the index need not look at what others remember.
    words         tsvector GENERATED ALWAYS AS (
        :searched || array_to_tsvector(ARRAY['tenant ' || tenant])
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

CREATE TABLE memory_terms (
    tenant   text   NOT NULL,
    term     text   NOT NULL,                 -- a lexeme, or '' for any memory at all
    memories bigint NOT NULL,                 -- how many have it: what is rare counts more
    PRIMARY KEY (tenant, term)
);

-- name: index
CREATE INDEX ON memories USING gin (words);
CREATE INDEX ON memories (tenant, agent, seq);
CREATE INDEX ON memories (tenant, conversation, seq);
CREATE INDEX ON memories (tenant, saved_at);
CREATE INDEX ON memories (seq);
CREATE INDEX ON memories (tenant, replaced_by) WHERE replaced_by IS NOT NULL;
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

-- name: add_terms
-- Before the memories themselves are written: those that are there have been counted.
WITH added AS (
    SELECT tenant, :searched AS words
    FROM json_populate_recordset(NULL::memories, %(rows)s::json) AS new
    WHERE NOT EXISTS (
        SELECT FROM memories AS old
        WHERE old.tenant = new.tenant AND old.memory_id = new.memory_id AND old.seq IS NOT NULL
    )
)
INSERT INTO memory_terms AS t (tenant, term, memories)
SELECT tenant, term, count(*)
FROM added, LATERAL (SELECT lexeme FROM unnest(words) UNION ALL SELECT '') AS each (term)
GROUP BY tenant, term
ON CONFLICT (tenant, term) DO UPDATE SET memories = t.memories + excluded.memories;

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
  AND (%(scope)s::text IS NULL OR scope = %(scope)s)
  AND (%(persons)s::text[] IS NULL OR person = ANY (%(persons)s))
  AND (%(since)s::bigint IS NULL OR saved_at >= %(since)s)
  AND (%(until)s::bigint IS NULL OR saved_at < %(until)s)
  AND (%(text)s::text IS NULL OR words @@ websearch_to_tsquery('english', %(text)s))
  AND (%(id_prefix)s::text IS NULL OR starts_with(memory_id, %(id_prefix)s))
  AND (%(replaced)s OR replaced_by IS NULL)
  AND (%(forgotten)s OR forgotten_at IS NULL)
ORDER BY seq DESC LIMIT %(limit)s;

-- name: history
-- What took its place, and what took the place of that; what it replaced, and what that replaced.
WITH RECURSIVE later AS (
    SELECT memory_id, replaced_by FROM memories
    WHERE tenant = %(tenant)s AND agent = %(agent)s AND memory_id = %(memory_id)s
    UNION
    SELECT newer.memory_id, newer.replaced_by FROM later JOIN memories AS newer
        ON newer.memory_id = later.replaced_by
    WHERE newer.tenant = %(tenant)s AND newer.agent = %(agent)s
), earlier AS (
    SELECT memory_id FROM memories
    WHERE tenant = %(tenant)s AND agent = %(agent)s AND replaced_by = %(memory_id)s
    UNION
    SELECT older.memory_id FROM earlier JOIN memories AS older
        ON older.replaced_by = earlier.memory_id
    WHERE older.tenant = %(tenant)s AND older.agent = %(agent)s
)
SELECT :columns FROM memories LEFT JOIN memory_totals USING (tenant, memory_id)
WHERE tenant = %(tenant)s AND agent = %(agent)s AND seq IS NOT NULL AND forgotten_at IS NULL
  AND memory_id <> %(memory_id)s
  AND memory_id IN (SELECT memory_id FROM later UNION ALL SELECT memory_id FROM earlier)
ORDER BY seq LIMIT %(limit)s;

-- name: gone
SELECT :columns FROM memories LEFT JOIN memory_totals USING (tenant, memory_id)
WHERE tenant = %(tenant)s AND agent = %(agent)s AND scope = %(scope)s
  AND (scope <> 'person' OR person = ANY (%(persons)s))
  AND (scope <> 'channel' OR conversation = %(conversation)s)
  AND greatest(forgotten_at, valid_to) > %(since)s
ORDER BY greatest(forgotten_at, valid_to) DESC, seq DESC LIMIT %(limit)s;

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
  AND (%(since)s::bigint IS NULL OR saved_at >= %(since)s)
  AND (%(until)s::bigint IS NULL OR saved_at < %(until)s)
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

-- name: typed
:important

-- name: hybrid
SELECT :columns, score, text_rank, text_score, vector_rank, vector_score, linked_to, link_score
FROM memory_search(
    %(tenant)s, %(agent)s, %(query)s, %(phrases)s, %(vector)s, %(model)s, %(kind)s, %(scope)s,
    %(persons)s, %(conversation)s, %(everyone)s, %(since)s, %(until)s, %(near_from)s, %(near_to)s,
    coalesce(%(now)s, (extract(epoch FROM now()) * 1000000)::bigint),
    %(signals)s, %(fusion)s, %(limit)s
) AS found JOIN memories USING (memory_id) LEFT JOIN memory_totals USING (tenant, memory_id)
WHERE tenant = %(tenant)s
ORDER BY score DESC, seq DESC;
