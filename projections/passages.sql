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
) WITH (toast_tuple_target = 8160);           -- a search reads words: keep them in the row

-- name: index
CREATE INDEX ON documents (tenant, agent, seq);
CREATE INDEX ON passages USING gin (words);
CREATE INDEX ON passages (tenant, agent, document_id, rank);
CREATE INDEX ON passages (sha256);
CREATE INDEX ON passages (seq);

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

-- name: create_search
-- It reads every tenant's rows, for row-level security would keep `@@` from using its index, and so
-- pins the tenant itself: the one that the caller's session is set to, and no other.
-- By words any word is enough. BM25 with k1 = 1.2 and b = 0.75, each word counted once; a word is as
-- rare as it is among the candidates. Those are passages with all words, with all but one, and with
-- each of them, at most so many of each kind: reading every passage with a common word takes seconds.
-- Of a text that stands in several documents, one is found.
DROP FUNCTION IF EXISTS passage_search;
CREATE FUNCTION passage_search(
    p_tenant text,
    p_agent  text,
    p_query  text,                            -- words or a question
    p_vector text,                            -- null for none, else as pgvector writes it
    p_model  text,                            -- that the vector is of
    p_most   bigint,                          -- candidates of each kind
    p_terms  bigint,                          -- different words that count
    p_limit  bigint
) RETURNS TABLE (
    document_id text, sha256 text, score double precision, text_rank integer, vector_rank integer
)
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 10
SET search_path FROM CURRENT
SET plan_cache_mode = force_custom_plan
SET enable_seqscan = off                      -- the planner knows neither the terms nor how few
SET enable_mergejoin = off                    -- candidates there are
SET enable_hashjoin = off
AS $function$
#variable_conflict use_column
DECLARE
    :fusion_constants
    p_fusion   CONSTANT text := 'score';
    alike      CONSTANT float8 := 0.3;        -- below it, a passage is about something else
    near_parts CONSTANT integer := 120;       -- several may be of one passage

    asked    float8;
    any_word tsquery;
    stored   bigint := 0;
    seen     bigint := 0;
    indexed  boolean := false;
    walking  boolean := false;                -- the index, instead of comparing with all
    length   integer;
    t_ids    text[];
    t_scores float8[];
    v_ids    text[];
    v_scores float8[];
BEGIN
    IF p_tenant IS DISTINCT FROM current_setting('penstock.tenant', true) THEN
        RAISE insufficient_privilege USING MESSAGE = 'passage_search is for the tenant of the session';
    END IF;

    WITH terms AS MATERIALIZED (
        SELECT number, term
        FROM unnest(to_tsvector('english', p_query)) WITH ORDINALITY
                 AS lexemes (lexeme, positions, weights, number),
             plainto_tsquery('simple', lexeme) AS term
        ORDER BY number LIMIT p_terms
    ),
    single AS MATERIALIZED (
        SELECT number, term, one.document_id, one.sha256
        FROM terms, LATERAL (
            SELECT document_id, sha256 FROM passages
            WHERE tenant = p_tenant AND agent = p_agent AND words @@ term
            LIMIT p_most
        ) AS one
    ),
    known AS MATERIALIZED (SELECT DISTINCT number, term::text AS term FROM single),
    wanted AS (
        SELECT string_agg(term, ' & ')::tsquery AS together FROM known HAVING count(*) > 1
        UNION
        SELECT string_agg(other.term, ' & ')::tsquery
        FROM known JOIN known AS other ON other.number <> known.number
        GROUP BY known.number HAVING count(*) > 1
    ),
    with_words AS MATERIALIZED (
        SELECT document_id, sha256 FROM single
        UNION
        SELECT several.document_id, several.sha256
        FROM wanted, LATERAL (
            SELECT document_id, sha256 FROM passages
            WHERE tenant = p_tenant AND agent = p_agent AND words @@ together
            LIMIT p_most
        ) AS several
    ),
    found AS MATERIALIZED (
        SELECT DISTINCT ON (sha256) document_id, sha256, rank, length(words) AS size,
               ARRAY(SELECT number FROM terms WHERE words @@ term) AS matched
        FROM with_words JOIN passages USING (document_id, sha256)
        WHERE tenant = p_tenant AND agent = p_agent
        ORDER BY sha256, document_id
    ),
    weights AS (
        SELECT number, ln(1 + (SELECT count(*) FROM found)::float8 / count(*)) AS weight
        FROM found, unnest(matched) AS number GROUP BY number
    ),
    scored AS (
        SELECT document_id, sha256, rank,
               sum(weight) / (1 + 1.2 * (0.25 + 0.75 * size / (SELECT avg(size) FROM found)))
                   AS points
        FROM found, unnest(matched) AS number JOIN weights USING (number)
        GROUP BY document_id, sha256, rank, size
        ORDER BY points DESC, document_id, rank LIMIT candidates
    )
    SELECT array_agg(sha256 ORDER BY points DESC, document_id, rank),
           array_agg(points ORDER BY points DESC, document_id, rank),
           (SELECT sum(coalesce(weight, ln(1 + (SELECT count(*) FROM found) / 0.5)))
            FROM terms LEFT JOIN weights USING (number)),
           (SELECT string_agg(term::text, ' | ')::tsquery FROM terms)
    INTO t_ids, t_scores, asked, any_word FROM scored;

    IF p_vector IS NOT NULL AND to_regclass('passage_vectors') IS NOT NULL THEN
        SELECT dimensions, passages_hnsw INTO length, indexed
        FROM vector_models
        WHERE model = p_model AND ready_at IS NOT NULL
          AND dimensions = jsonb_array_length(p_vector::jsonb);
        IF indexed THEN
            SELECT sum(number), sum(number) FILTER (WHERE tenant = p_tenant AND agent = p_agent)
            INTO stored, seen
            FROM vector_counts WHERE model = p_model AND kind = 'passage';
        END IF;
        IF length IS NOT NULL THEN
            :how_to_look
            EXECUTE format(
                $query$
                WITH nearest AS MATERIALIZED (
                    SELECT sha256, vector::halfvec(%1$s) <#> $1::halfvec(%1$s) AS distance
                    FROM passage_vectors
                    WHERE model = %2$L AND tenant = $2 AND agent = $3
                    ORDER BY (vector::halfvec(%1$s) <#> $1::halfvec(%1$s)) %3$s LIMIT $4
                ),
                best AS (         -- of a passage, the part that is nearest
                    SELECT sha256, min(distance) AS distance FROM nearest
                    WHERE -distance >= $5 GROUP BY sha256
                    ORDER BY distance, sha256 LIMIT $6
                )
                SELECT array_agg(sha256 ORDER BY distance, sha256),
                       array_agg(-distance ORDER BY distance, sha256)
                FROM best
                $query$,
                length, p_model,
                CASE WHEN walking THEN '' ELSE '+ 0' END  -- what is ordered by a sum needs no index
            )
            INTO v_ids, v_scores
            USING p_vector, p_tenant, p_agent, near_parts, alike, candidates;
            PERFORM set_config('enable_sort', 'on', true);
        END IF;
    END IF;

    RETURN QUERY
    WITH :direct
    SELECT p.document_id, p.sha256, f.points, f.t_rank, f.v_rank
    FROM direct AS f, LATERAL (
        SELECT document_id, sha256, rank FROM passages
        WHERE tenant = p_tenant AND agent = p_agent AND sha256 = f.id
        ORDER BY (words @@ any_word) IS TRUE DESC, document_id LIMIT 1
    ) AS p
    ORDER BY f.points DESC, p.document_id, p.rank LIMIT p_limit;
END
$function$;
REVOKE EXECUTE ON FUNCTION passage_search FROM PUBLIC;

-- name: search
SELECT p.agent, p.document_id, p.id, d.name, p.rank, p.heading, p.text, p.sha256, p.created_at,
       best.score, best.text_rank, best.vector_rank
FROM passage_search(
    %(tenant)s, %(agent)s, %(query)s, %(vector)s, %(model)s, %(most)s, %(most_terms)s, %(limit)s
) AS best
JOIN passages AS p ON (p.document_id, p.sha256) = (best.document_id, best.sha256)
JOIN documents AS d ON (d.tenant, d.agent, d.document_id) = (p.tenant, p.agent, p.document_id)
WHERE p.tenant = %(tenant)s AND p.agent = %(agent)s
ORDER BY best.score DESC, p.document_id, p.rank;
