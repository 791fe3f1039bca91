-- Recall in one round trip: words, meaning and links, each on its own, then fused.

-- name: may_see
(agent = p_agent OR scope = 'tenant')
              AND (p_kind IS NULL OR kind = p_kind)
              AND (p_scope IS NULL OR scope = p_scope)
              AND (p_since IS NULL OR saved_at >= p_since)
              AND (p_until IS NULL OR saved_at < p_until)
              AND (p_everyone
                   OR scope IN ('agent', 'tenant')
                   OR scope = 'person' AND person = ANY (p_persons)
                   OR scope = 'channel' AND conversation = p_conversation)

-- name: may_see_given
(agent = $3 OR scope = 'tenant')
                      AND ($4 IS NULL OR kind = $4)
                      AND ($5 IS NULL OR scope = $5)
                      AND ($6 IS NULL OR saved_at >= $6)
                      AND ($7 IS NULL OR saved_at < $7)
                      AND ($8
                           OR scope IN ('agent', 'tenant')
                           OR scope = 'person' AND person = ANY ($9)
                           OR scope = 'channel' AND conversation = $10)

-- name: freshness
-- From 1, just saved, said again or recalled, to 0: halved in a time that depends on the kind.
CASE kind WHEN 'identity' THEN 1 ELSE
               power(0.5, least(50, greatest(0, p_now - greatest(saved_at, touched_at, recalled_at))
                   / (86400e6 * CASE kind WHEN 'preference' THEN 365 WHEN 'decision' THEN 365
                                          WHEN 'fact' THEN 180 WHEN 'goal' THEN 90
                                          WHEN 'todo' THEN 30 WHEN 'event' THEN 30
                                          ELSE 14 END)))
           END

-- name: create
-- It reads every tenant's rows, for row-level security would keep `@@` from using its index, and so
-- pins the tenant itself: the one that the caller's session is set to, and no other.
DROP FUNCTION IF EXISTS memory_search;
CREATE FUNCTION memory_search(
    p_tenant       text,
    p_agent        text,
    p_query        text,                      -- words or a question
    p_phrases      text[],                    -- that must stand like this to count more
    p_vector       text,                      -- null for none, else as pgvector writes it
    p_model        text,                      -- that the vector is of
    p_kind         text,                      -- null for all, as are the next
    p_scope        text,
    p_persons      text[],                    -- whose own memories may be seen
    p_conversation text,                      -- of which memories may be seen
    p_everyone     boolean,                   -- true to see every scope
    p_since        bigint,                    -- UTC microseconds, inclusive
    p_until        bigint,                    -- exclusive
    p_near_from    bigint,                    -- a time that the query speaks of
    p_near_to      bigint,
    p_now          bigint,                    -- for decay
    p_signals      text,                      -- hybrid, or one of text and vector alone
    p_fusion       text,                      -- score, or rrf
    p_limit        integer
) RETURNS TABLE (
    memory_id    text,
    score        double precision,
    text_rank    integer,
    text_score   double precision,
    vector_rank  integer,
    vector_score double precision,
    linked_to    text,                        -- the memory whose neighbour it is
    link_score   double precision
)
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 10
SET search_path FROM CURRENT
SET plan_cache_mode = force_custom_plan
AS $function$
#variable_conflict use_column
DECLARE
    :fusion_constants
    budget     CONSTANT bigint := 1200;       -- rows looked at for words; rare words first
    seeds      CONSTANT integer := 15;        -- best ones whose neighbours are looked at
    hour       CONSTANT bigint := 3600000000; -- neighbours were said within it
    w_link     CONSTANT float8 := 0.35;
    w_near     CONSTANT float8 := 0.6;
    w_minor    CONSTANT float8 := 0.003;      -- importance and age, only to break ties

    total    bigint;
    terms    text[];
    queries  tsquery[];
    weights  float8[];
    asked    float8;
    chosen   tsquery;
    phrases  tsquery[];
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
        RAISE insufficient_privilege USING MESSAGE = 'memory_search is for the tenant of the session';
    END IF;

    IF p_vector IS NULL AND to_tsvector('english', p_query) = '' THEN  -- nothing to search by
        RETURN QUERY
        SELECT memory_id, importance, NULL::integer, NULL::float8, NULL::integer, NULL::float8,
               NULL::text, NULL::float8
        FROM memories
        WHERE tenant = p_tenant AND replaced_by IS NULL AND forgotten_at IS NULL
              AND :may_see
        ORDER BY importance DESC, seq DESC LIMIT p_limit;
        RETURN;
    END IF;

    IF p_signals <> 'vector' AND p_query <> '' THEN
        SELECT memories INTO total FROM memory_terms WHERE tenant = p_tenant AND term = '';
        SELECT array_agg(lexeme ORDER BY df, lexeme), array_agg(term ORDER BY df, lexeme),
               array_agg(ln(1 + total::float8 / df) ORDER BY df, lexeme),
               string_agg(term::text, ' | ') FILTER (WHERE running <= budget)::tsquery
        INTO terms, queries, weights, chosen
        FROM (
            SELECT lexeme, asked.term, known.memories AS df,
                   sum(known.memories) OVER (ORDER BY known.memories, lexeme) AS running
            FROM unnest(to_tsvector('english', p_query)),
                 plainto_tsquery('simple', lexeme) AS asked (term),
                 memory_terms AS known
            WHERE known.tenant = p_tenant AND known.term = lexeme
        ) AS weighed;
        IF chosen IS NULL AND queries IS NOT NULL THEN  -- all are common: the two rarest together
            chosen := CASE WHEN queries[2] IS NULL THEN queries[1] ELSE queries[1] && queries[2] END;
        END IF;
        SELECT sum(ln(1 + total::float8 / coalesce(known.memories, 0.5))) INTO asked
        FROM unnest(to_tsvector('english', p_query))
        LEFT JOIN memory_terms AS known ON known.tenant = p_tenant AND known.term = lexeme;
        SELECT array_agg(phraseto_tsquery('english', each)) INTO phrases
        FROM unnest(p_phrases) AS each;
    END IF;

    IF chosen IS NOT NULL THEN
        WITH found AS MATERIALIZED (
            SELECT memory_id, seq, importance, words, length(words) - 1 AS size
            FROM memories
            WHERE tenant = p_tenant AND replaced_by IS NULL AND forgotten_at IS NULL
              AND :may_see
              AND words @@ (chosen && quote_literal('tenant ' || p_tenant)::tsquery)
            LIMIT 2 * budget
        ),
        scored AS (
            SELECT memory_id, seq, importance,
                   (sum(weight) / (1 + 1.2 * (0.25 + 0.75 * size / (SELECT avg(size) FROM found))))
                   * (1 + (SELECT count(*) FROM unnest(phrases) AS phrase WHERE words @@ phrase))
                       AS points
            FROM found, unnest(queries, weights) AS asked (term, weight)
            WHERE words @@ term
            GROUP BY memory_id, seq, importance, size, words
            ORDER BY points DESC, importance DESC, seq DESC LIMIT candidates
        )
        SELECT array_agg(memory_id ORDER BY points DESC, importance DESC, seq DESC),
               array_agg(points ORDER BY points DESC, importance DESC, seq DESC)
        INTO t_ids, t_scores FROM scored;
    END IF;

    IF p_signals <> 'text' AND p_vector IS NOT NULL AND to_regclass('vector_models') IS NOT NULL THEN
        SELECT dimensions, hnsw INTO length, indexed
        FROM vector_models
        WHERE model = p_model AND ready_at IS NOT NULL
          AND dimensions = jsonb_array_length(p_vector::jsonb);
        IF indexed THEN
            SELECT sum(number),
                   sum(number) FILTER (WHERE tenant = p_tenant
                                         AND (agent = p_agent OR scope = 'tenant')
                                         AND (p_kind IS NULL OR kind = p_kind)
                                         AND (p_scope IS NULL OR scope = p_scope)
                                         AND (p_everyone OR scope IN ('agent', 'tenant')))
            INTO stored, seen
            FROM vector_counts WHERE model = p_model AND kind <> 'passage';
            IF p_since IS NOT NULL OR p_until IS NOT NULL THEN
                SELECT count(*) INTO seen FROM (
                    SELECT FROM vectors
                    WHERE model = p_model AND tenant = p_tenant
              AND :may_see
                    LIMIT seen
                ) AS few;
            END IF;
        END IF;
        IF length IS NOT NULL THEN
            :how_to_look
            EXECUTE format(
                $query$
                WITH nearest AS MATERIALIZED (
                    SELECT item_id, vector::halfvec(%1$s) <#> $1::halfvec(%1$s) AS distance
                    FROM vectors
                    WHERE model = %2$L AND tenant = $2
                      AND :may_see_given
                    ORDER BY (vector::halfvec(%1$s) <#> $1::halfvec(%1$s)) %3$s LIMIT $11
                )
                SELECT array_agg(item_id ORDER BY distance, item_id),
                       array_agg(-distance ORDER BY distance, item_id)
                FROM nearest
                $query$,
                length, p_model,
                CASE WHEN walking THEN '' ELSE '+ 0' END  -- what is ordered by a sum needs no index
            )
            INTO v_ids, v_scores
            USING p_vector, p_tenant, p_agent, p_kind, p_scope, p_since, p_until, p_everyone,
                  p_persons, p_conversation, candidates;
            PERFORM set_config('enable_sort', 'on', true);
        END IF;
    END IF;

    -- From here on all is found by keys, whatever is asked: planning it anew would take as long.
    PERFORM set_config('plan_cache_mode', 'force_generic_plan', true);
    RETURN QUERY
    WITH :direct,
    seeds AS MATERIALIZED (
        SELECT id, points, m.conversation, m.seq, m.saved_at
        FROM (SELECT id, points FROM direct ORDER BY points DESC, id LIMIT seeds) AS best
        JOIN memories AS m ON m.tenant = p_tenant AND m.memory_id = id
        WHERE p_signals = 'hybrid'
    ),
    linked AS (
        SELECT other, s.id AS via, s.points * e.weight * 0.6 AS points
        FROM seeds AS s, LATERAL (
            SELECT to_id AS other, weight FROM memory_edges AS e
            WHERE e.tenant = p_tenant AND e.memory_id = s.id AND relation <> 'contradicts'
            UNION ALL
            SELECT e.memory_id, weight FROM memory_edges AS e
            WHERE e.tenant = p_tenant AND e.to_id = s.id AND relation <> 'contradicts'
        ) AS e
    ),
    linked_twice AS (
        SELECT e.other, l.via, l.points * e.weight * 0.6 AS points
        FROM linked AS l, LATERAL (
            SELECT to_id AS other, weight FROM memory_edges AS e
            WHERE e.tenant = p_tenant AND e.memory_id = l.other AND relation <> 'contradicts'
            UNION ALL
            SELECT e.memory_id, weight FROM memory_edges AS e
            WHERE e.tenant = p_tenant AND e.to_id = l.other AND relation <> 'contradicts'
        ) AS e
    ),
    beside AS (
        SELECT n.other, s.id AS via, s.points * (CASE n.distance WHEN 1 THEN 1 ELSE 0.5 END) AS points
        FROM seeds AS s, LATERAL (
            (SELECT m.memory_id AS other, m.saved_at,
                    row_number() OVER (ORDER BY m.seq DESC) AS distance
             FROM memories AS m
             WHERE m.tenant = p_tenant AND m.conversation = s.conversation AND m.seq < s.seq
             ORDER BY m.seq DESC LIMIT 2)
            UNION ALL
            (SELECT m.memory_id, m.saved_at, row_number() OVER (ORDER BY m.seq)
             FROM memories AS m
             WHERE m.tenant = p_tenant AND m.conversation = s.conversation AND m.seq > s.seq
             ORDER BY m.seq LIMIT 2)
        ) AS n
        WHERE abs(n.saved_at - s.saved_at) < hour
    ),
    neighbours AS (
        SELECT DISTINCT ON (other) other AS id, via, points
        FROM (TABLE linked UNION ALL TABLE linked_twice UNION ALL TABLE beside) AS hop
        WHERE other <> via
        ORDER BY other, points DESC, via
    ),
    meant_time AS (                           -- said at the time that the query speaks of
        SELECT m.memory_id AS id FROM memories AS m
        WHERE p_signals = 'hybrid' AND m.tenant = p_tenant
          AND m.saved_at >= p_near_from AND m.saved_at < p_near_to
        ORDER BY m.importance DESC, m.saved_at DESC LIMIT candidates
    ),
    fused AS MATERIALIZED (
        SELECT id, d.t_rank, d.t_points, d.v_rank, d.v_points, n.via, n.points AS n_points,
               coalesce(d.points, 0) + w_link * coalesce(n.points, 0) AS points
        FROM direct AS d FULL JOIN neighbours AS n USING (id) FULL JOIN meant_time USING (id)
    )
    SELECT f.id,
           f.points
           + CASE WHEN p_signals = 'hybrid' AND p_fusion = 'score'
                  THEN w_near * (coalesce(saved_at >= p_near_from AND saved_at < p_near_to, false))::integer
                       * (SELECT max(points) FROM fused)
                  ELSE 0 END
           + CASE WHEN p_signals = 'hybrid' THEN w_minor ELSE 0 END * (SELECT max(points) FROM fused) * (:freshness + importance),
           f.t_rank, f.t_points, f.v_rank, f.v_points, f.via, f.n_points
    FROM fused AS f
    JOIN memories ON memories.tenant = p_tenant AND memories.memory_id = f.id
    LEFT JOIN memory_totals AS u ON u.tenant = p_tenant AND u.memory_id = f.id
    WHERE replaced_by IS NULL AND forgotten_at IS NULL
              AND :may_see
    ORDER BY 2 DESC, seq DESC
    LIMIT p_limit;
END
$function$;
REVOKE EXECUTE ON FUNCTION memory_search FROM PUBLIC;
