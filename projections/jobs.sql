-- Jobs, and what became of each time at which one was due.

-- name: create
CREATE TABLE jobs (
    tenant     text   NOT NULL,
    agent      text   NOT NULL,
    job        text   NOT NULL,
    definition jsonb,                       -- the newest job_defined
    paused     boolean,
    deleted    boolean,
    reason     text,                        -- of the last change
    changed_by text,
    created_at bigint NOT NULL,             -- UTC microseconds, as every time here
    changed_at bigint,
    last_seq   bigint,
    PRIMARY KEY (tenant, agent, job)
);

CREATE TABLE occurrences (
    tenant       text NOT NULL,
    agent        text NOT NULL,
    job          text NOT NULL,
    occurrence   text NOT NULL,             -- id of the event that fired, skipped or missed it
    seq          bigint,
    due_at       bigint,
    recorded_at  bigint,
    actor        text,
    state        text,                      -- fired, skipped or missed
    manual       boolean,
    attempt      bigint,
    started_at   bigint,                    -- its first turn
    reason       text,                      -- of skipped and missed
    because      text,                      -- event that was in the way
    down_from_at bigint,
    down_to_at   bigint,
    policy       text,
    stands_for   bigint,
    retry_of     text,
    ended_at     bigint,
    outcome      text,
    end_reason   text,                      -- and the budget that a skipped one had no room in
    delivered_at bigint,
    delivered_to text,
    refused      text,
    PRIMARY KEY (tenant, agent, job, occurrence)
);

CREATE TABLE job_changes (
    tenant   text   NOT NULL,
    seq      bigint NOT NULL,
    agent    text   NOT NULL,
    job      text   NOT NULL,
    envelope jsonb  NOT NULL,               -- the event that changed it
    PRIMARY KEY (tenant, seq)
);

-- name: index
CREATE INDEX ON job_changes (tenant, agent, job, seq);
CREATE INDEX ON occurrences (tenant, agent, job, due_at);

-- name: add_changes
INSERT INTO job_changes
SELECT * FROM json_populate_recordset(NULL::job_changes, %(rows)s::json)
ON CONFLICT DO NOTHING;

-- name: changes
SELECT seq, envelope FROM job_changes
WHERE tenant = %(tenant)s AND agent = %(agent)s AND job = %(job)s
ORDER BY seq;

-- name: listing
SELECT j.agent, j.job, j.definition,
       CASE WHEN coalesce(j.deleted, false) THEN 'deleted'
            WHEN coalesce(j.paused, false) THEN 'paused' ELSE 'active' END AS standing,
       coalesce(j.reason, '') AS reason, coalesce(j.changed_by, '') AS changed_by,
       j.created_at, coalesce(j.changed_at, j.created_at) AS changed_at,
       coalesce(j.last_seq, 0) AS last_seq,
       o.due_at AS last_due_at, o.state AS last_state, o.outcome AS last_outcome,
       (SELECT count(*) FROM occurrences AS r
        WHERE r.tenant = j.tenant AND r.agent = j.agent AND r.job = j.job
          AND r.state = 'fired' AND r.ended_at IS NULL) AS running
FROM jobs AS j
LEFT JOIN LATERAL (
    SELECT due_at, state, outcome FROM occurrences AS o
    WHERE o.tenant = j.tenant AND o.agent = j.agent AND o.job = j.job AND o.state IS NOT NULL
    ORDER BY o.due_at DESC LIMIT 1
) AS o ON true
WHERE j.tenant = %(tenant)s AND j.definition IS NOT NULL
  AND (%(agent)s::text IS NULL OR j.agent = %(agent)s)
  AND (%(job)s::text IS NULL OR j.job = %(job)s)
  AND (%(deleted)s OR NOT coalesce(j.deleted, false))
ORDER BY j.agent, j.job;

-- name: occurrences
SELECT occurrence, seq, due_at, recorded_at, coalesce(actor, '') AS actor, state, coalesce(manual, false) AS manual,
       coalesce(attempt, 1) AS attempt, started_at, reason, because, down_from_at, down_to_at,
       policy, stands_for, retry_of, ended_at, outcome, end_reason, delivered_at, delivered_to,
       refused
FROM occurrences
WHERE tenant = %(tenant)s AND agent = %(agent)s AND job = %(job)s AND state IS NOT NULL
  AND due_at > %(after)s AND due_at <= %(until)s
ORDER BY due_at DESC, seq DESC LIMIT %(limit)s;

-- name: recorded
-- Most runs come out well, and are told in seven columns; what else there is to say is in the eighth.
SELECT occurrence, seq, due_at, recorded_at, started_at, ended_at, delivered_to,
       CASE WHEN state = 'fired' AND outcome = 'succeeded' AND NOT coalesce(manual, false)
             AND coalesce(attempt, 1) = 1 AND coalesce(stands_for, 0) = 0 AND retry_of IS NULL
             AND refused IS NULL AND coalesce(end_reason, '') = ''
            THEN NULL
            ELSE json_build_array(state, outcome, end_reason, refused, coalesce(actor, ''),
                                  coalesce(manual, false), coalesce(attempt, 1), reason, because,
                                  down_from_at, down_to_at, policy, stands_for, retry_of)::text
       END AS beside
FROM occurrences
WHERE tenant = %(tenant)s AND agent = %(agent)s AND job = %(job)s AND state IS NOT NULL
  AND due_at > %(after)s AND due_at <= %(until)s
ORDER BY due_at;
