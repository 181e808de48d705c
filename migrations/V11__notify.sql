-- What `noctus notify` knows and owes: conditions that alerts and SLO violations tell of, their changes of state, and the
-- messages that tell people of them. Nobody else writes here.

-- One row per fingerprint: a rule that fired, and what it is about.
CREATE TABLE notify_conditions (
    fingerprint TEXT        PRIMARY KEY,           -- 32 hex digits, of the rule and the subject
    policy_name TEXT        NOT NULL,
    subject     TEXT        NOT NULL,              -- `account=main symbol=USDJPY`; empty: the rule alone
    account     TEXT,
    symbol      TEXT,
    source      TEXT        NOT NULL CHECK (source IN ('alert','slo')),
    state       TEXT        NOT NULL CHECK (state IN ('NEW','OPEN','RESOLVED')), -- NEW: only to be locked
    change_no   BIGINT      NOT NULL DEFAULT 0,    -- how often its state has changed
    severity    TEXT        NOT NULL CHECK (severity IN ('LOW','MEDIUM','HIGH','CRITICAL')), -- the highest since it opened
    alerts      BIGINT      NOT NULL DEFAULT 0,    -- how many since it opened
    opened_at   TIMESTAMPTZ NOT NULL,              -- the first of them, by its own time
    last_at     TIMESTAMPTZ NOT NULL,              -- the newest, by its own time
    seen_at     TIMESTAMPTZ NOT NULL,              -- when the last one was read, by Postgres' clock, as changed_at
    changed_at  TIMESTAMPTZ NOT NULL,
    reason      TEXT        NOT NULL,
    trace_id    TEXT
);
CREATE INDEX notify_conditions_open ON notify_conditions (seen_at) WHERE state = 'OPEN';
CREATE INDEX notify_conditions_over ON notify_conditions (changed_at) WHERE state <> 'OPEN';

-- One message for one receiver. Its id is a function of what it tells, and its body never changes.
CREATE TABLE notify_messages (
    id           TEXT        PRIMARY KEY,          -- the webhook-id
    receiver     TEXT        NOT NULL,
    is_critical  BOOLEAN     NOT NULL,
    repeats      BOOLEAN     NOT NULL,             -- may be sent again when nobody knows whether it arrived
    body         JSONB       NOT NULL,
    state        TEXT        NOT NULL CHECK (state IN ('PENDING','SENDING','DELIVERED','FAILED','UNKNOWN')),
    attempts     INT         NOT NULL DEFAULT 0,   -- the intent is committed before anything is written
    epoch        BIGINT,                           -- of the teller that sends it
    is_uncertain BOOLEAN     NOT NULL DEFAULT false, -- an attempt may have arrived without our knowing
    next_at      TIMESTAMPTZ NOT NULL,
    made_at      TIMESTAMPTZ NOT NULL,
    tried_at     TIMESTAMPTZ,
    ended_at     TIMESTAMPTZ,
    status       INT,                              -- HTTP, of the last answer
    error        TEXT
);
CREATE INDEX notify_messages_due ON notify_messages (receiver, is_critical, next_at) WHERE state IN ('PENDING','SENDING');
CREATE INDEX notify_messages_made ON notify_messages (receiver, is_critical, made_at);

-- One change of one condition for one receiver; it is told by one message, once chosen for ever.
CREATE TABLE notify_changes (
    receiver    TEXT        NOT NULL,
    fingerprint TEXT        NOT NULL,
    change_no   BIGINT      NOT NULL,
    kind        TEXT        NOT NULL CHECK (kind IN ('open','update','resolved')),
    severity    TEXT        NOT NULL CHECK (severity IN ('LOW','MEDIUM','HIGH','CRITICAL')),
    is_critical BOOLEAN     NOT NULL GENERATED ALWAYS AS (severity = 'CRITICAL' AND kind <> 'resolved') STORED,
    change      JSONB       NOT NULL,
    noted_at    TIMESTAMPTZ NOT NULL,
    message_id  TEXT        REFERENCES notify_messages ON DELETE CASCADE,
    PRIMARY KEY (receiver, fingerprint, change_no)
);
CREATE INDEX notify_changes_untold ON notify_changes (receiver, noted_at) WHERE message_id IS NULL;
CREATE INDEX notify_changes_message ON notify_changes (message_id);

-- Receivers that want no more (410), until the file says something else.
CREATE TABLE notify_gone (
    receiver TEXT        PRIMARY KEY,
    digest   TEXT        NOT NULL,                 -- of the file in force then
    gone_at  TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp()
);

-- Who tells: one process at a time. The epoch grows whenever the lease was over or is another's.
CREATE TABLE notify_teller (
    one         BOOLEAN     PRIMARY KEY DEFAULT true CHECK (one),
    owner       TEXT        NOT NULL,
    epoch       BIGINT      NOT NULL,
    lease_until TIMESTAMPTZ NOT NULL
);
INSERT INTO notify_teller (owner, epoch, lease_until) VALUES ('', 0, '-infinity');

COMMENT ON TABLE notify_conditions IS 'Conditions that alerts and SLO violations tell of, one per rule and subject; written by noctus notify.';
COMMENT ON TABLE notify_changes IS 'Their changes of state, one row per receiver that is told.';
COMMENT ON TABLE notify_messages IS 'Messages to receivers: the intent before the call, the result after it.';
COMMENT ON TABLE notify_gone IS 'Receivers that answered 410 and are left alone until the file changes.';
COMMENT ON TABLE notify_teller IS 'Who tells: one process at a time.';
