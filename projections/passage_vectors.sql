-- Passages' vectors: what documents say, to be found by. Apart from those of memories, so that neither
-- takes candidates or index pages from the other.

-- name: create
CREATE TABLE passage_vectors (
    model  text    NOT NULL,
    tenant text    NOT NULL,
    agent  text    NOT NULL,
    sha256 text    NOT NULL,                  -- of the passage's text, whichever documents have it
    vector halfvec NOT NULL,
    PRIMARY KEY (model, tenant, agent, sha256)
);
ALTER TABLE vector_models                     -- whether there is an index of passages' vectors
    ADD COLUMN passages_hnsw boolean NOT NULL DEFAULT false;

-- name: missing
-- Several passages have one `seq`: what a page had no room for is found by asking from its last one.
SELECT tenant, agent, seq, text, decode(sha256, 'hex') AS sha256
FROM passages AS p
WHERE seq >= %(after)s
  AND NOT EXISTS (
      SELECT FROM passage_vectors AS v
      WHERE v.model = %(model)s AND v.tenant = p.tenant AND v.agent = p.agent
        AND v.sha256 = p.sha256
  )
ORDER BY seq LIMIT %(limit)s;

-- name: add
-- Limits keep the planner, before there are statistics, from reading the tables for every page.
WITH changed AS (
INSERT INTO passage_vectors (model, tenant, agent, sha256, vector)
SELECT %(model)s, tenant, agent, encode(new.sha256, 'hex'), e.vector
FROM unnest(%(tenants)s::text[], %(agents)s::text[], %(hashes)s::bytea[])
         AS new (tenant, agent, sha256),
     LATERAL (SELECT vector FROM embeddings
              WHERE model = %(model)s AND sha256 = new.sha256 LIMIT 1) AS e,
     LATERAL (SELECT FROM passages AS p
              WHERE p.tenant = new.tenant AND p.agent = new.agent
                AND p.sha256 = encode(new.sha256, 'hex') LIMIT 1) AS there
ON CONFLICT DO NOTHING
RETURNING model, tenant, agent, 'agent' AS scope, 'passage' AS kind, 1 AS change
)
:add_counts;

-- name: sweep
WITH changed AS (
DELETE FROM passage_vectors AS v
WHERE (%(tenant)s::text IS NULL OR tenant = %(tenant)s AND agent = %(agent)s)
  AND NOT EXISTS (
      SELECT FROM passages AS p
      WHERE p.tenant = v.tenant AND p.agent = v.agent AND p.sha256 = v.sha256
  )
RETURNING model, tenant, agent, 'agent' AS scope, 'passage' AS kind, -1 AS change
)
:add_counts;
