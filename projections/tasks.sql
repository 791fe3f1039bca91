-- Tasks: what is to be done, what waits for what, and every revision.

-- name: create
CREATE TABLE tasks (
    tenant       text   NOT NULL,
    agent        text   NOT NULL,
    task_id      text   NOT NULL,             -- T1, T2, … of the agent
    title        text,
    description  jsonb,                       -- a string, or the reference of a body
    state        text,
    priority     text,
    plan         jsonb,                       -- a list of strings
    checked      jsonb,                       -- a list of the steps that are done, from 1
    goal         text,                        -- empty: none
    run_id       text,                        -- worker of the newest attempt; empty: a person's
    outcome      text,                        -- of that attempt; empty: not ended
    attempts     integer,
    created_by   text,
    approved_by  text,                        -- empty: nobody
    created_at   bigint,                      -- UTC microseconds
    changed_at   bigint NOT NULL,
    seq          bigint NOT NULL,             -- its newest event
    PRIMARY KEY (tenant, agent, task_id)
);
CREATE TABLE task_dependencies (
    tenant   text    NOT NULL,
    agent    text    NOT NULL,
    task_id  text    NOT NULL,
    on_id    text    NOT NULL,                -- has to be done before
    holds    boolean NOT NULL,                -- false: was taken away
    seq      bigint  NOT NULL,
    PRIMARY KEY (tenant, agent, task_id, on_id)
);
CREATE TABLE task_revisions (
    :revision_columns
);

-- name: index
CREATE INDEX ON tasks (tenant, agent, seq);
CREATE INDEX ON task_revisions (tenant, agent, ref, seq);

-- name: listing
SELECT agent, task_id, title, description, state, priority, plan, checked,
       nullif(goal, '') AS goal, nullif(run_id, '') AS run_id, nullif(outcome, '') AS outcome,
       coalesce(attempts, 0) AS attempts, created_by, nullif(approved_by, '') AS approved_by,
       created_at, changed_at, seq,
       ARRAY(
           SELECT d.on_id
           FROM task_dependencies AS d
           LEFT JOIN tasks AS o USING (tenant, agent)
           WHERE d.tenant = t.tenant AND d.agent = t.agent AND d.task_id = t.task_id AND d.holds
             AND o.task_id = d.on_id AND o.state <> 'done'
           ORDER BY d.seq
       ) AS waiting_for
FROM tasks AS t
WHERE tenant = %(tenant)s AND agent = %(agent)s AND seq < %(before)s AND title IS NOT NULL
  AND (%(states)s::text[] IS NULL OR state = ANY (%(states)s))
  AND (%(goal)s::text IS NULL OR goal = %(goal)s)
ORDER BY seq DESC LIMIT %(limit)s;
