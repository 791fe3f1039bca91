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

-- name: create_parts
-- In place of the table before, of whole passages' vectors: the new ones are made in the background.
DROP TABLE passage_vectors;
CREATE TABLE passage_vectors (
    model  text     NOT NULL,
    tenant text     NOT NULL,
    agent  text     NOT NULL,
    sha256 text     NOT NULL,                 -- of the passage's text, whichever documents have it
    part   smallint NOT NULL,                 -- of the passage, from 0: there are all of them or none
    vector halfvec  NOT NULL,
    PRIMARY KEY (model, tenant, agent, sha256, part)
);
UPDATE vector_models SET passages_hnsw = false;
DELETE FROM vector_counts WHERE kind = 'passage';

-- name: missing
-- Several passages have one `seq`: what a page had no room for is found by asking from its last one.
-- The limit inside keeps the planner from reading all vectors for every page.
SELECT tenant, agent, seq, text, sha256
FROM passages AS p LEFT JOIN LATERAL (
    SELECT true AS there FROM passage_vectors AS v
    WHERE v.model = %(model)s AND v.tenant = p.tenant AND v.agent = p.agent
      AND v.sha256 = p.sha256
    LIMIT 1
) AS known ON true
WHERE seq >= %(after)s AND there IS NULL
ORDER BY seq LIMIT %(limit)s;

-- name: add
-- Limits keep the planner, before there are statistics, from reading the tables for every page.
WITH changed AS (
INSERT INTO passage_vectors (model, tenant, agent, sha256, part, vector)
SELECT %(model)s, tenant, agent, new.passage, number, e.vector
FROM unnest(
         %(tenants)s::text[], %(agents)s::text[], %(passages)s::text[], %(numbers)s::smallint[],
         %(hashes)s::bytea[]
     ) AS new (tenant, agent, passage, number, sha256),
     LATERAL (SELECT vector FROM embeddings
              WHERE model = %(model)s AND sha256 = new.sha256 LIMIT 1) AS e,
     LATERAL (SELECT FROM passages AS p
              WHERE p.tenant = new.tenant AND p.agent = new.agent
                AND p.sha256 = new.passage LIMIT 1) AS there
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
