-- What searches have in common: how to look for what is near, and how words and meaning are fused.

-- name: fusion_constants
-- Weights were chosen by measuring: docs/recall.md.
    candidates CONSTANT integer := 60;        -- of each signal
    exact      CONSTANT integer := 600;       -- times all vectors: root of what is all compared
    w_text     CONSTANT float8 := 0.5;
    w_vector   CONSTANT float8 := 0.5;
    rrf        CONSTANT float8 := 60;

-- name: how_to_look
-- By the index, or one by one: needs how many are `stored`, and how many of them may be `seen`.
            -- Set here, for whoever is no superuser may not attach them to a function.
            PERFORM set_config('hnsw.iterative_scan', 'strict_order', true),
                    set_config('hnsw.ef_search', '100', true);
            walking := coalesce(seen * seen > exact * stored, false);
            IF walking THEN  -- before there are statistics, the planner would rather sort
                PERFORM set_config('enable_sort', 'off', true);
            END IF;

-- name: direct
-- What words found, `t_ids`, best first, with `t_scores` of the `asked`; and the same of meaning.
by_text AS (
        SELECT id, points, number::integer AS rank
        FROM unnest(t_ids, t_scores) WITH ORDINALITY AS t (id, points, number)
    ),
    by_vector AS (
        SELECT id, points, number::integer AS rank
        FROM unnest(v_ids, v_scores) WITH ORDINALITY AS v (id, points, number)
    ),
    direct AS MATERIALIZED (
        SELECT id, t.rank AS t_rank, t.points AS t_points, v.rank AS v_rank, v.points AS v_points,
               CASE WHEN p_fusion = 'rrf'
                    THEN coalesce(1 / (rrf + t.rank), 0) + coalesce(1 / (rrf + v.rank), 0)
                    ELSE w_text * coalesce(t.points / asked, 0)
                         + w_vector * coalesce(greatest(v.points, 0), 0)
               END AS points
        FROM by_text AS t FULL JOIN by_vector AS v USING (id)
    )
