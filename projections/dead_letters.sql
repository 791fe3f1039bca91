-- Dead letters: what was given up and waits for a person.

-- name: create
CREATE TABLE dead_letters (
    tenant       text    NOT NULL,
    ref          text    NOT NULL,            -- turn:ID, or delivery:DURABLE:SEQ
    kind         text,                        -- turn or delivery; null until it was given up
    agent        text    NOT NULL,
    adapter      text    NOT NULL,
    conversation text    NOT NULL,
    turn_id      text,                        -- of a turn
    durable      text,                        -- of a delivery: the consumer that gave up
    subject      text,                        -- of a delivery: where the event is
    event_seq    bigint,                      -- of a delivery: its sequence in the log
    reason       text,
    attempts     bigint,
    parked_at    bigint,                      -- UTC microseconds
    retried_at   bigint,
    open         boolean NOT NULL,
    seq          bigint  NOT NULL,            -- last change
    PRIMARY KEY (tenant, ref)
);

-- name: index
CREATE INDEX ON dead_letters (tenant, seq);

-- name: listing
SELECT ref, kind, agent, adapter, conversation, turn_id, durable, subject, event_seq, reason,
       attempts, parked_at, retried_at, open, seq
FROM dead_letters
WHERE tenant = %(tenant)s AND kind IS NOT NULL AND (%(retried)s OR open) AND seq < %(before)s
ORDER BY seq DESC LIMIT %(limit)s;

-- name: one
SELECT ref, kind, agent, adapter, conversation, turn_id, durable, subject, event_seq, reason,
       attempts, parked_at, retried_at, open, seq
FROM dead_letters
WHERE tenant = %(tenant)s AND kind IS NOT NULL AND ref = %(ref)s;
