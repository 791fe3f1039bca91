-- Revisions: what happened to a thing, one row per event.

-- name: revision_columns
tenant   text   NOT NULL,
    agent    text   NOT NULL,
    ref      text   NOT NULL,                 -- the thing
    event_id text   NOT NULL,
    seq      bigint NOT NULL,
    at       bigint NOT NULL,                 -- UTC microseconds
    actor    text   NOT NULL,
    cause    text,
    turn     text,
    type     text   NOT NULL,
    data     jsonb  NOT NULL,
    PRIMARY KEY (tenant, event_id)

-- name: newest_first
SELECT seq, event_id, at, actor, type, data, cause, turn
FROM {table}
WHERE tenant = %(tenant)s AND agent = %(agent)s AND ref = %(ref)s AND seq < %(before)s
ORDER BY seq DESC LIMIT %(limit)s;
