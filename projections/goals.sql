-- Goals: what the tasks of an agent are for, and every revision.

-- name: create
CREATE TABLE goals (
    tenant       text   NOT NULL,
    agent        text   NOT NULL,
    goal_id      text   NOT NULL,             -- G1, G2, … of the agent
    title        text,
    description  jsonb,                       -- a string, or the reference of a body
    state        text,
    due          text,                        -- YYYY-MM-DD, or empty
    created_by   text,
    closed_by    text,                        -- empty: nobody
    created_at   bigint,                      -- UTC microseconds
    changed_at   bigint NOT NULL,
    seq          bigint NOT NULL,             -- its newest event
    PRIMARY KEY (tenant, agent, goal_id)
);
CREATE TABLE goal_revisions (
    :revision_columns
);

-- name: index
CREATE INDEX ON goals (tenant, agent, seq);
CREATE INDEX ON goal_revisions (tenant, agent, ref, seq);

-- name: listing
SELECT agent, goal_id, title, description, state, due, created_by,
       nullif(closed_by, '') AS closed_by, created_at, changed_at, seq
FROM goals
WHERE tenant = %(tenant)s AND agent = %(agent)s AND seq < %(before)s AND title IS NOT NULL
  AND (%(all)s OR state = 'open')
ORDER BY seq DESC LIMIT %(limit)s;
