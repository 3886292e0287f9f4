-- The facts of one installation.
--
-- Where a fact is a document, its JSON is what tenon-contract writes and `format` is the number of its
-- form; columns beside it are only what is searched by. Digests are `sha256:` + 64 hex digits. Times
-- are milliseconds since 1970.

CREATE TABLE versions (
    model TEXT NOT NULL,
    number INTEGER NOT NULL CHECK (number > 0),
    digest TEXT NOT NULL,
    registered_at INTEGER NOT NULL,
    format INTEGER NOT NULL,
    document TEXT NOT NULL,
    PRIMARY KEY (model, number),
    -- The same bytes under the same model are the same version.
    UNIQUE (model, digest)
) STRICT;

-- What is wanted of each service.
CREATE TABLE services (
    service TEXT NOT NULL PRIMARY KEY,
    revision INTEGER NOT NULL,
    format INTEGER NOT NULL,
    document TEXT NOT NULL
) STRICT;

-- One row: the highest revision number ever given or recorded.
CREATE TABLE revision_counter (
    one INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    given INTEGER NOT NULL
) STRICT;

INSERT INTO revision_counter (one, given) VALUES (1, 0);

CREATE TABLE jobs (
    position INTEGER NOT NULL PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'running', 'done', 'failed')),
    input TEXT NOT NULL,
    outcome TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

CREATE INDEX unfinished_jobs ON jobs (position) WHERE state IN ('waiting', 'running');

-- The journal of each job: appended to, never changed.
CREATE TABLE job_steps (
    job TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    name TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'running', 'done', 'failed')),
    detail TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (job, position)
) STRICT;

-- Hashes of receipt entries, kept apart from the chains they verify.
CREATE TABLE heads (
    service TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    hash TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (service, sequence)
) STRICT;

CREATE TABLE proofs (
    artifact TEXT NOT NULL,
    runtime TEXT NOT NULL,
    processor TEXT NOT NULL,
    format INTEGER NOT NULL,
    document TEXT NOT NULL,
    PRIMARY KEY (artifact, runtime, processor)
) STRICT;

CREATE TABLE audit (
    position INTEGER NOT NULL PRIMARY KEY,
    at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    outcome TEXT NOT NULL,
    request_id TEXT
) STRICT;
