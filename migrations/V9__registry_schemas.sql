-- What the schema registry said when a gate asked for an id first. An id never stands for another schema (F06).
CREATE TABLE registry_schemas (
    id      BIGINT PRIMARY KEY,
    sha256  BYTEA NOT NULL CHECK (octet_length(sha256) = 32), -- of the schema's canonical JSON (RFC 8785)
    seen_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp()
);
