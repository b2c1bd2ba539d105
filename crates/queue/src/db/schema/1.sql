-- Jobs. `token` is the fencing token and only rises; `attempt` counts claims since the last picture. `place` orders a user's jobs.
CREATE TABLE jobs (
    id TEXT PRIMARY KEY NOT NULL,
    owner TEXT NOT NULL,
    kind TEXT NOT NULL,
    request TEXT NOT NULL,
    request_hash TEXT,
    idempotency_key TEXT,
    state TEXT NOT NULL CHECK (state IN ('queued', 'running', 'done', 'failed', 'cancelled')),
    priority BIGINT NOT NULL,
    pushed BIGINT NOT NULL DEFAULT 0,
    place BIGINT NOT NULL,
    created BIGINT NOT NULL,
    started BIGINT,
    finished BIGINT,
    model TEXT,
    first_picture TEXT NOT NULL,
    pictures_total BIGINT NOT NULL,
    pictures_done BIGINT NOT NULL DEFAULT 0 CHECK (pictures_done <= pictures_total),
    attempt BIGINT NOT NULL DEFAULT 0,
    token BIGINT NOT NULL DEFAULT 0,
    worker TEXT,
    lease_until BIGINT,
    cancel TEXT,
    error_code TEXT,
    error TEXT,
    result TEXT,
    CHECK ((state = 'running') = (lease_until IS NOT NULL)),
    CHECK ((state IN ('queued', 'running')) = (finished IS NULL))
);
CREATE INDEX jobs_live ON jobs (state, owner) WHERE state IN ('queued', 'running');
CREATE INDEX jobs_state ON jobs (state, id);
CREATE INDEX jobs_owner ON jobs (owner, id);
CREATE INDEX jobs_finished ON jobs (finished) WHERE finished IS NOT NULL;
CREATE INDEX jobs_first_picture ON jobs (first_picture);
CREATE UNIQUE INDEX jobs_key ON jobs (owner, idempotency_key) WHERE idempotency_key IS NOT NULL;

-- When each user was last served: a number that rises with each claim.
CREATE TABLE owners (
    name TEXT PRIMARY KEY NOT NULL,
    served BIGINT NOT NULL
);

-- One row: the number of the newest event, and why the queue is paused.
CREATE TABLE queue (
    one BIGINT PRIMARY KEY CHECK (one = 1),
    event BIGINT NOT NULL,
    paused TEXT,
    paused_since BIGINT
);
INSERT INTO queue (one, event) VALUES (1, 0);

-- Pictures, narrow, because a search may walk over many of them. `row` and `created` rise together, and no row is used again.
CREATE TABLE images (
    row {serial},
    id TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    job TEXT,
    n BIGINT NOT NULL,
    seed BIGINT,
    model TEXT,
    sampler TEXT,
    steps BIGINT,
    width BIGINT NOT NULL,
    height BIGINT NOT NULL,
    format TEXT NOT NULL,
    bytes BIGINT NOT NULL,
    sha256 TEXT NOT NULL,
    starred BIGINT NOT NULL DEFAULT 0,
    created BIGINT NOT NULL,
    deleted BIGINT
);
CREATE UNIQUE INDEX images_job ON images (job, n) WHERE job IS NOT NULL;
CREATE INDEX images_owner ON images (owner, row) WHERE deleted IS NULL;
CREATE INDEX images_created ON images (created, row);
CREATE INDEX images_bin ON images (deleted) WHERE deleted IS NOT NULL;

-- What is wide and read only for the pictures that are shown. `tags` are lines.
CREATE TABLE details (
    row {key},
    prompt TEXT NOT NULL,
    negative TEXT NOT NULL,
    infotext TEXT NOT NULL,
    request TEXT NOT NULL,
    tags TEXT NOT NULL
);
CREATE TABLE tags (
    tag TEXT NOT NULL,
    row BIGINT NOT NULL,
    PRIMARY KEY (tag, row)
);
{words}

-- Uploads, and which jobs read them.
CREATE TABLE inputs (
    sha256 TEXT PRIMARY KEY NOT NULL,
    bytes BIGINT NOT NULL,
    created BIGINT NOT NULL
);
CREATE TABLE job_inputs (
    job TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    PRIMARY KEY (job, sha256)
);
CREATE INDEX job_inputs_sha256 ON job_inputs (sha256);

CREATE TABLE events (
    number {key},
    at BIGINT NOT NULL,
    owner TEXT NOT NULL,
    kind TEXT NOT NULL,
    job TEXT,
    picture TEXT,
    detail TEXT
);
