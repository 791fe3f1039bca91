-- How far every projection has got, and what it could not take in.

-- name: create
CREATE TABLE projection_positions (
    name       text PRIMARY KEY,
    seq        bigint NOT NULL,               -- last event that is in the rows
    version    bigint NOT NULL,               -- contract of the rows; see registry.py
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE projection_problems (
    name       text   NOT NULL,               -- a projection, or log
    seq        bigint NOT NULL,               -- event that is affected; 0 for none in particular
    kind       text   NOT NULL,               -- poison, suspended, hole or mismatch
    detail     text   NOT NULL,
    noted_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (name, seq, kind)
);

-- name: start
INSERT INTO projection_positions (name, seq, version) VALUES (%(name)s, 0, %(version)s);

-- name: listing
SELECT name, seq, version FROM projection_positions ORDER BY name;

-- name: hold
SELECT name, seq, version FROM projection_positions WHERE name = %(name)s FOR UPDATE;

-- name: move
UPDATE projection_positions AS p
SET seq = %(seq)s, updated_at = now()
FROM unnest(%(names)s::text[], %(from)s::bigint[]) AS m (name, seq)
WHERE p.name = m.name AND p.seq = m.seq;

-- name: put
UPDATE projection_positions
SET seq = %(seq)s, version = %(version)s, updated_at = now()
WHERE name = %(name)s;

-- name: note
INSERT INTO projection_problems (name, seq, kind, detail)
VALUES (%(name)s, %(seq)s, %(kind)s, %(detail)s)
ON CONFLICT (name, seq, kind) DO UPDATE SET detail = excluded.detail, noted_at = now();

-- name: problems
SELECT name, seq, kind, detail, (extract(epoch FROM noted_at) * 1000000)::bigint AS noted_at
FROM projection_problems
ORDER BY name, seq, kind LIMIT %(limit)s;

-- name: clear
DELETE FROM projection_problems
WHERE name = %(name)s AND (%(kind)s::text IS NULL OR kind = %(kind)s);

-- name: rename
UPDATE projection_problems SET name = %(name)s WHERE name = %(old)s;
