-- Archive: every event as it is stored in the log, the second copy.

-- name: create
CREATE TABLE archive (
    seq     bigint PRIMARY KEY,               -- position in the log
    tenant  text,                             -- null where the subject is not one of ours
    subject text   COLLATE "C" NOT NULL,      -- on the wire; "C" lets a prefix use the index
    id      text   NOT NULL,                  -- not unique: a damaged log may repeat itself
    type    text   NOT NULL,
    at      bigint NOT NULL,                  -- UTC microseconds
    turn    text,
    body    bytea  NOT NULL
);

-- name: index
CREATE INDEX ON archive USING hash (id);
CREATE INDEX ON archive (subject);
CREATE INDEX ON archive (turn) WHERE turn IS NOT NULL;

-- name: add
INSERT INTO archive (seq, tenant, subject, id, type, at, turn, body)
SELECT seq, tenant, subject, id, type, at, turn, decode(body, 'base64')
FROM json_to_recordset(%(rows)s::json) AS r (
    seq bigint, tenant text, subject text, id text, type text, at bigint, turn text, body text
)
ON CONFLICT DO NOTHING;

-- name: of_turn
SELECT seq, subject, body FROM archive
WHERE tenant = %(tenant)s AND turn = %(turn)s AND seq > %(after)s
ORDER BY seq LIMIT %(limit)s;

-- name: of_prefix
SELECT seq, subject, body FROM archive
WHERE tenant = %(tenant)s AND subject >= %(prefix)s AND subject < %(end)s AND seq > %(after)s
ORDER BY seq LIMIT %(limit)s;

-- name: by_id
SELECT seq, subject, body FROM archive
WHERE tenant = %(tenant)s AND id = %(id)s
ORDER BY seq LIMIT 1;

-- name: newest
SELECT seq, subject, id, sha256(body) AS digest FROM archive ORDER BY seq DESC LIMIT 1;

-- name: known
SELECT id FROM archive WHERE id = ANY(%(ids)s);

-- name: extent
SELECT count(*) AS count, coalesce(min(seq), 0) AS first, coalesce(max(seq), 0) AS last FROM archive;

-- name: slice
SELECT seq, subject, body FROM archive
WHERE seq > %(after)s AND seq <= %(until)s
ORDER BY seq LIMIT %(limit)s;

-- name: digests
SELECT seq, subject, id, sha256(body) AS digest FROM archive
WHERE seq > %(after)s AND seq <= %(until)s
ORDER BY seq;
