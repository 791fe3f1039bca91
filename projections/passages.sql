-- Passages: which documents there are, what they say, and the words to find it by.

-- name: create
CREATE TABLE documents (
    tenant      text NOT NULL,
    agent       text NOT NULL,
    document_id text NOT NULL,
    name        text,                         -- null until it is handed in, as are the next
    sha256      text,                         -- of the newest content, null where it was not read
    bytes       bigint,
    media_type  text,
    state       text,                         -- received, split, ingested, refused, forgotten
    reason      text,                         -- why it was refused, as a code
    detail      text,                         -- why it was refused or forgotten, for people
    chunks      bigint,
    received_at bigint,                       -- UTC microseconds
    changed_at  bigint NOT NULL,
    seq         bigint NOT NULL,              -- last change
    PRIMARY KEY (tenant, agent, document_id)
);
CREATE TABLE passages (
    tenant      text   NOT NULL,
    agent       text   NOT NULL,
    document_id text   NOT NULL,
    sha256      text   NOT NULL,              -- of text; a document holds a text once
    id          text   NOT NULL GENERATED ALWAYS AS (document_id || '.' || left(sha256, 16)) STORED,
    rank        bigint NOT NULL,              -- sorts the passages of a document
    heading     text   NOT NULL,
    text        text   NOT NULL,
    created_at  bigint NOT NULL,              -- UTC microseconds
    seq         bigint NOT NULL,
    words       tsvector GENERATED ALWAYS AS (to_tsvector('english', heading || E'\n' || text)) STORED,
    PRIMARY KEY (tenant, agent, document_id, sha256)
);

-- name: index
CREATE INDEX ON documents (tenant, agent, seq);
CREATE INDEX ON passages USING gin (words);
CREATE INDEX ON passages (tenant, agent, document_id, rank);
CREATE INDEX ON passages (sha256);

-- name: remove_documents
DELETE FROM passages AS p
USING json_to_recordset(%(rows)s::json) AS r (tenant text, agent text, document_id text)
WHERE (p.tenant, p.agent, p.document_id) = (r.tenant, r.agent, r.document_id);

-- name: remove
DELETE FROM passages AS p
USING json_to_recordset(%(rows)s::json) AS r (
    tenant text, agent text, document_id text, sha256 text
)
WHERE (p.tenant, p.agent, p.document_id, p.sha256)
    = (r.tenant, r.agent, r.document_id, r.sha256);

-- name: put
INSERT INTO passages (
    tenant, agent, document_id, sha256, rank, heading, text, created_at, seq
)
SELECT tenant, agent, document_id, sha256, rank, heading, text, created_at, seq
FROM json_to_recordset(%(rows)s::json) AS r (
    tenant text, agent text, document_id text, sha256 text, rank bigint, heading text, text text,
    created_at bigint, seq bigint
)
ON CONFLICT (tenant, agent, document_id, sha256) DO UPDATE
SET rank = excluded.rank, heading = excluded.heading, text = excluded.text,
    created_at = excluded.created_at, seq = excluded.seq;

-- name: documents
SELECT agent, document_id, name, sha256, bytes, media_type, state, reason, detail, chunks,
       received_at, changed_at, seq
FROM documents
WHERE tenant = %(tenant)s AND agent = %(agent)s AND seq < %(before)s
  AND received_at IS NOT NULL AND state <> 'forgotten'
ORDER BY seq DESC LIMIT %(limit)s;

-- name: of_document
SELECT p.agent, p.document_id, p.id, d.name, p.rank, p.heading, p.text, p.sha256, p.created_at
FROM passages AS p JOIN documents AS d USING (tenant, agent, document_id)
WHERE p.tenant = %(tenant)s AND p.agent = %(agent)s AND p.document_id = %(document_id)s
ORDER BY p.rank, p.sha256 LIMIT %(limit)s;

-- name: search
-- Any word is enough. BM25 with k1 = 1.2 and b = 0.75, each word counted once; a word is as rare
-- as it is among what was found. Of a text that stands in several documents, one is shown.
WITH asked AS (
    SELECT array_agg(term) AS terms, string_agg(term::text, ' | ')::tsquery AS any_of_them
    FROM unnest(to_tsvector('english', %(query)s)), plainto_tsquery('simple', lexeme) AS term
),
found AS MATERIALIZED (
    SELECT DISTINCT ON (sha256) document_id, sha256, rank, words, length(words) AS size
    FROM passages
    WHERE tenant = %(tenant)s AND agent = %(agent)s
      AND words @@ (SELECT any_of_them FROM asked)
    ORDER BY sha256, document_id
),
matches AS MATERIALIZED (
    SELECT document_id, sha256, rank, size, number
    FROM found, unnest((SELECT terms FROM asked)) WITH ORDINALITY AS asked_for (term, number)
    WHERE words @@ term
),
weights AS (
    SELECT number, ln(1 + (SELECT count(*) FROM found)::float8 / count(*)) AS weight
    FROM matches GROUP BY number
),
best AS (
    SELECT document_id, sha256, rank,
           sum(weight) / (1 + 1.2 * (0.25 + 0.75 * size / (SELECT avg(size) FROM found)))::float8
               AS score
    FROM matches JOIN weights USING (number)
    GROUP BY document_id, sha256, rank, size
    ORDER BY score DESC, document_id, rank LIMIT %(limit)s
)
SELECT p.agent, p.document_id, p.id, d.name, p.rank, p.heading, p.text, p.sha256, p.created_at
FROM best AS b
JOIN passages AS p ON (p.document_id, p.sha256) = (b.document_id, b.sha256)
JOIN documents AS d ON (d.tenant, d.agent, d.document_id) = (p.tenant, p.agent, p.document_id)
WHERE p.tenant = %(tenant)s AND p.agent = %(agent)s
ORDER BY b.score DESC, p.document_id, p.rank;
