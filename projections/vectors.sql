-- Vectors: what memories mean, to be found by; the vectors that texts had before; the models.

-- name: create
CREATE EXTENSION IF NOT EXISTS vector;

CREATE TABLE embeddings (
    model  text    NOT NULL,
    sha256 bytea   NOT NULL,                  -- of the text
    vector halfvec NOT NULL,
    PRIMARY KEY (model, sha256)
);

CREATE TABLE vectors (
    model        text    NOT NULL,
    tenant       text    NOT NULL,
    item_id      text    NOT NULL,            -- memory that it is of
    agent        text    NOT NULL,            -- what follows is the memory's, and never changes:
    kind         text    NOT NULL,            -- a search filters where it finds
    scope        text    NOT NULL,
    person       text,
    conversation text,
    saved_at     bigint  NOT NULL,
    vector       halfvec NOT NULL,
    PRIMARY KEY (model, tenant, item_id)
);
CREATE INDEX ON vectors (tenant, model, agent, scope, kind, saved_at);

CREATE TABLE vector_counts (                  -- of `vectors`, for a search to choose how it looks
    model  text   NOT NULL,
    tenant text   NOT NULL,
    agent  text   NOT NULL,
    scope  text   NOT NULL,
    kind   text   NOT NULL,                   -- or 'passage': of documents, not in `vectors`
    number bigint NOT NULL,
    PRIMARY KEY (model, tenant, agent, scope, kind)
);

CREATE TABLE vector_models (
    model      text    PRIMARY KEY,
    dimensions integer NOT NULL,
    ready_at   timestamptz,                   -- when every memory first had a vector of it
    hnsw       boolean NOT NULL DEFAULT false -- whether there is an index of its vectors
);

-- name: model
SELECT model, dimensions, ready_at IS NOT NULL AS ready, hnsw, passages_hnsw
FROM vector_models WHERE model = %(model)s;

-- name: add_model
INSERT INTO vector_models (model, dimensions) VALUES (%(model)s, %(dimensions)s)
ON CONFLICT DO NOTHING;

-- name: set_ready
UPDATE vector_models SET ready_at = now() WHERE model = %(model)s AND ready_at IS NULL;

-- name: missing
SELECT tenant, memory_id, agent, kind, scope, person, conversation, saved_at, seq,
       text #>> '{}' AS text
FROM memories AS m
WHERE seq > %(after)s AND replaced_by IS NULL AND forgotten_at IS NULL
  AND jsonb_typeof(text) = 'string'
  AND NOT EXISTS (
      SELECT FROM vectors AS v
      WHERE v.model = %(model)s AND v.tenant = m.tenant AND v.item_id = m.memory_id
  )
ORDER BY seq LIMIT %(limit)s;

-- name: cached
SELECT sha256, vector_dims(vector) FROM embeddings
WHERE model = %(model)s AND sha256 = ANY (%(hashes)s);

-- name: halfvec
SELECT 'halfvec'::regtype::oid::bigint;

-- name: cache
INSERT INTO embeddings (model, sha256, vector)
SELECT %(model)s, sha256, vector
FROM unnest(%(hashes)b::bytea[], %(vectors)b::halfvec[]) AS new (sha256, vector)
ON CONFLICT DO NOTHING;

-- name: add_counts
INSERT INTO vector_counts AS c (model, tenant, agent, scope, kind, number)
SELECT model, tenant, agent, scope, kind, sum(change) FROM changed
GROUP BY model, tenant, agent, scope, kind
ON CONFLICT (model, tenant, agent, scope, kind) DO UPDATE SET number = c.number + excluded.number

-- name: add
-- Limits keep the planner, before there are statistics, from reading the tables for every page.
WITH changed AS (
INSERT INTO vectors (
    model, tenant, item_id, agent, kind, scope, person, conversation, saved_at, vector
)
SELECT %(model)s, m.tenant, m.memory_id, m.agent, m.kind, m.scope, m.person, m.conversation,
       m.saved_at, e.vector
FROM unnest(%(tenants)s::text[], %(ids)s::text[], %(hashes)s::bytea[])
         AS new (tenant, memory_id, sha256),
     LATERAL (SELECT * FROM memories
              WHERE tenant = new.tenant AND memory_id = new.memory_id LIMIT 1) AS m,
     LATERAL (SELECT vector FROM embeddings
              WHERE model = %(model)s AND sha256 = new.sha256 LIMIT 1) AS e
WHERE m.replaced_by IS NULL AND m.forgotten_at IS NULL
ON CONFLICT DO NOTHING
RETURNING model, tenant, agent, scope, kind, 1 AS change
)
:add_counts;

-- name: remove
WITH changed AS (
DELETE FROM vectors WHERE tenant = %(tenant)s AND item_id = ANY (%(ids)s)
RETURNING model, tenant, agent, scope, kind, -1 AS change
)
:add_counts;

-- name: sweep
WITH changed AS (
DELETE FROM vectors AS v
WHERE NOT EXISTS (
    SELECT FROM memories AS m
    WHERE m.tenant = v.tenant AND m.memory_id = v.item_id
      AND m.replaced_by IS NULL AND m.forgotten_at IS NULL
)
RETURNING model, tenant, agent, scope, kind, -1 AS change
)
:add_counts;

-- name: retire
WITH counts AS (DELETE FROM vector_counts WHERE model <> %(model)s),
passages AS (DELETE FROM passage_vectors WHERE model <> %(model)s)
DELETE FROM vectors WHERE model <> %(model)s;

-- name: retire_models
DELETE FROM vector_models WHERE model <> %(model)s RETURNING model;

-- name: is_any_ready
SELECT EXISTS (SELECT FROM vector_models WHERE ready_at IS NOT NULL);
