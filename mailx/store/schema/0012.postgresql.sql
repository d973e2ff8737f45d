-- MailX schema 12: how much of what happened when, for charts. Nothing in it tells of a person.
CREATE TABLE figures (
    name TEXT NOT NULL,                         -- delivered, local, deferred, bounced, calls, calls_refused
    step INTEGER NOT NULL,                      -- seconds that one row covers: 300, 3600
    at BIGINT NOT NULL,                         -- their beginning, seconds since 1970
    count BIGINT NOT NULL,
    PRIMARY KEY (step, at, name)
);
