-- Agents: which there are, as last defined.

-- name: create
CREATE TABLE agents (
    tenant       text    NOT NULL,
    agent        text    NOT NULL,
    name         text,                        -- null until it is defined
    instructions text,
    model        text,                        -- '' for the installation's
    retired      boolean NOT NULL,
    defined_at   bigint,                      -- UTC microseconds
    seq          bigint  NOT NULL,            -- last change
    PRIMARY KEY (tenant, agent)
);

-- name: index

-- name: listing
SELECT agent, name, instructions, nullif(model, '') AS model, retired, defined_at, seq
FROM agents
WHERE tenant = %(tenant)s AND name IS NOT NULL AND (%(retired)s OR NOT retired)
ORDER BY agent;

-- name: one
SELECT agent, name, instructions, nullif(model, '') AS model, retired, defined_at, seq
FROM agents
WHERE tenant = %(tenant)s AND agent = %(agent)s AND name IS NOT NULL;
