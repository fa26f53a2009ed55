-- Tables of the cluster, beside Procrastinate's own. Virtual times are in milliseconds.

CREATE TABLE distillery_settings (
    name text PRIMARY KEY,
    value text NOT NULL
);

CREATE TABLE distillery_tiers (
    name text PRIMARY KEY,
    weight double precision NOT NULL DEFAULT 1 CHECK (weight > 0),
    max_running integer CHECK (max_running > 0),
    max_queued integer CHECK (max_queued > 0),
    max_daily integer CHECK (max_daily > 0)
);
COMMENT ON TABLE distillery_tiers IS 'Share of each tier, and its limits for each user; no value: no limit.';
INSERT INTO distillery_tiers (name) VALUES ('');

CREATE TABLE distillery_users (
    id text PRIMARY KEY,
    virtual_finish bigint NOT NULL DEFAULT 0
);

-- Read and moved outside of transactions, so that no claim waits for another.
CREATE SEQUENCE distillery_virtual_time MINVALUE 0 START 0;
CREATE SEQUENCE distillery_claims MINVALUE 0 START 0;
-- No waiting job is below it, but for one of the last seconds: see distillery_floor_v1.
CREATE SEQUENCE distillery_floor MINVALUE 0 START 0;
INSERT INTO distillery_settings (name, value) VALUES ('floor', '0');

CREATE TABLE distillery_jobs (
    id text PRIMARY KEY,
    number bigint GENERATED ALWAYS AS IDENTITY,
    user_id text NOT NULL,
    tier text NOT NULL,
    job jsonb NOT NULL,
    deliver jsonb NOT NULL DEFAULT '[]',
    model text,
    megapixels real NOT NULL,
    cost real NOT NULL,
    virtual_start bigint NOT NULL,
    due bigint,
    state text NOT NULL DEFAULT 'queued'
        CHECK (state IN ('queued', 'running', 'done', 'failed', 'cancelled', 'expired')),
    stage text,
    task bigint,
    worker uuid,
    run integer NOT NULL DEFAULT 0,
    round integer NOT NULL DEFAULT 1,
    deaths integer NOT NULL DEFAULT 0,
    faults integer NOT NULL DEFAULT 0,
    cancelling boolean NOT NULL DEFAULT false,
    error jsonb,
    wait_estimate real,
    wait_uncorrected real,
    created timestamptz NOT NULL DEFAULT now(),
    deadline timestamptz,
    started timestamptz,
    finished timestamptz
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500,
        autovacuum_analyze_scale_factor = 0.05);
COMMENT ON COLUMN distillery_jobs.due IS 'Number of the claim at which the job goes next, whatever is loaded.';
COMMENT ON COLUMN distillery_jobs.run IS 'Counts its runs: a worker that was thought dead ends no later one.';
COMMENT ON COLUMN distillery_jobs.faults IS 'Servers that failed with it; deaths: workers that died with it.';
COMMENT ON COLUMN distillery_jobs.task IS 'Its row in procrastinate_jobs, which is deleted at its end.';
CREATE INDEX distillery_jobs_queue ON distillery_jobs (virtual_start, number) WHERE state = 'queued';
CREATE INDEX distillery_jobs_active ON distillery_jobs (user_id, state) WHERE state IN ('queued', 'running');
CREATE INDEX distillery_jobs_running ON distillery_jobs (worker) WHERE state = 'running';
CREATE INDEX distillery_jobs_deadline ON distillery_jobs (deadline) WHERE state IN ('queued', 'running') AND deadline IS NOT NULL;
CREATE INDEX distillery_jobs_finished ON distillery_jobs (finished);

CREATE TABLE distillery_results (
    job_id text PRIMARY KEY REFERENCES distillery_jobs ON DELETE CASCADE,
    result json NOT NULL,  -- as it came: the stages are in the order in which they ran
    object text NOT NULL,
    worker uuid NOT NULL,
    run integer NOT NULL,
    stored timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN distillery_results.object IS 'Name of the picture in the store, by its SHA-256.';

CREATE TABLE distillery_deliveries (
    id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    job_id text NOT NULL REFERENCES distillery_jobs ON DELETE CASCADE,
    round integer NOT NULL,
    kind text NOT NULL,
    target text NOT NULL,
    state text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'delivered', 'failed')),
    attempts integer NOT NULL DEFAULT 0,
    next_at timestamptz NOT NULL DEFAULT now(),
    error text,
    created timestamptz NOT NULL DEFAULT now(),
    delivered timestamptz,
    UNIQUE (job_id, round, kind, target)
);
CREATE INDEX distillery_deliveries_pending ON distillery_deliveries (kind, next_at) WHERE state = 'pending';

CREATE TABLE distillery_workers (
    id uuid PRIMARY KEY,
    name text NOT NULL,
    version text NOT NULL,
    slots integer NOT NULL,
    models text[] NOT NULL DEFAULT '{}',
    state text NOT NULL DEFAULT 'ready' CHECK (state IN ('starting', 'ready', 'draining')),
    beat bigint NOT NULL DEFAULT 0,
    procrastinate_worker bigint,
    started timestamptz NOT NULL DEFAULT now(),
    beaten timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE distillery_seconds (
    model text PRIMARY KEY,
    n double precision NOT NULL DEFAULT 0,
    sx double precision NOT NULL DEFAULT 0,
    sy double precision NOT NULL DEFAULT 0,
    sxx double precision NOT NULL DEFAULT 0,
    sxy double precision NOT NULL DEFAULT 0,
    switched_n double precision NOT NULL DEFAULT 0,
    switched_y double precision NOT NULL DEFAULT 0,
    stayed_n double precision NOT NULL DEFAULT 0,
    stayed_y double precision NOT NULL DEFAULT 0,
    waited double precision NOT NULL DEFAULT 0,
    foretold double precision NOT NULL DEFAULT 0
) WITH (fillfactor = 50);
COMMENT ON TABLE distillery_seconds IS
    'Decaying sums over the jobs of a model: x megapixels, y seconds from claim to result. Model *: all, and '
    'the waits beside what was foretold of them.';

CREATE TABLE distillery_ledger (
    id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    at timestamptz NOT NULL DEFAULT now(),
    job_id text NOT NULL,
    user_id text NOT NULL,
    tier text NOT NULL,
    event text NOT NULL,
    detail text,
    seconds real,
    waited real,
    estimate real
);
COMMENT ON TABLE distillery_ledger IS
    'What was accepted and what became of it; kept when jobs are deleted. accepted + replayed = done + failed + '
    'cancelled + expired + those queued and running.';
CREATE INDEX distillery_ledger_day ON distillery_ledger (user_id, at) WHERE event = 'accepted';
CREATE INDEX distillery_ledger_at ON distillery_ledger (at);
CREATE INDEX distillery_ledger_job ON distillery_ledger (job_id);
