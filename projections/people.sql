-- People: who has spoken, under which ids, and when.

-- name: create
CREATE TABLE people (
    tenant       text   NOT NULL,
    person       text   NOT NULL,             -- as on its platform: portal:ana
    name         text   NOT NULL,
    first_at     bigint NOT NULL,             -- UTC microseconds
    last_at      bigint NOT NULL,
    last_seq     bigint NOT NULL,
    agent        text   NOT NULL,             -- where this person spoke last
    adapter      text   NOT NULL,
    conversation text   NOT NULL,
    PRIMARY KEY (tenant, person)
);

-- name: index

-- name: listing
SELECT person, name, first_at, last_at, last_seq, agent, adapter, conversation
FROM people
WHERE tenant = %(tenant)s
ORDER BY last_seq DESC LIMIT %(limit)s;
