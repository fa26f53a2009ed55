-- What workers do beside jobs: heartbeats, deadlines, deletion, deliveries; and the place in the queue.

CREATE FUNCTION distillery_expire_v1() RETURNS bigint LANGUAGE plpgsql AS $$
-- Ends the jobs that wait past their deadline. Those that run are ended by their worker.
DECLARE _id text; _n bigint := 0;
BEGIN
    FOR _id IN SELECT id FROM distillery_jobs WHERE state = 'queued' AND deadline < now()
        ORDER BY deadline LIMIT 1000 FOR UPDATE SKIP LOCKED
    LOOP
        PERFORM distillery_end_v1(_id, 'expired', '{"kind": "deadline"}', NULL);
        _n := _n + 1;
    END LOOP;
    RETURN _n;
END $$;

CREATE FUNCTION distillery_floor_v1() RETURNS void LANGUAGE plpgsql AS $$
-- Raises the floor, every few seconds whoever asks: claims begin to read there, and not at the rows of jobs that were taken
-- long ago, which a vacuum that is held back leaves in the index. A job that gets below it in the same moment is
-- found at the next time.
BEGIN
    IF (SELECT value::double precision FROM distillery_settings WHERE name = 'floor') > extract(epoch FROM now()) - 3 THEN
        RETURN;
    END IF;
    PERFORM 1 FROM distillery_settings WHERE name = 'floor' FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    UPDATE distillery_settings SET value = extract(epoch FROM now())::text WHERE name = 'floor';
    PERFORM setval('distillery_floor', COALESCE(
        (SELECT virtual_start FROM distillery_jobs WHERE state = 'queued' ORDER BY virtual_start, number LIMIT 1), 0));
END $$;

CREATE FUNCTION distillery_prune_v1(_days double precision) RETURNS bigint LANGUAGE plpgsql AS $$
-- Deletes jobs that ended so many days ago and of whose end everybody was told; the ledger keeps what became of them.
DECLARE _n bigint;
BEGIN
    DELETE FROM distillery_jobs WHERE id IN (
        SELECT j.id FROM distillery_jobs j WHERE j.finished < now() - make_interval(secs => _days * 86400)
            AND NOT EXISTS (SELECT 1 FROM distillery_deliveries d WHERE d.job_id = j.id AND d.state = 'pending')
        LIMIT 5000);
    GET DIAGNOSTICS _n = ROW_COUNT;
    RETURN _n;
END $$;

CREATE FUNCTION distillery_beat_v1(_worker uuid, _name text, _version text, _slots integer, _models text[], _state text,
    _procrastinate_worker bigint) RETURNS void LANGUAGE sql AS $$
    INSERT INTO distillery_workers AS w (id, name, version, slots, models, state, procrastinate_worker)
    VALUES (_worker, _name, _version, _slots, _models, _state, _procrastinate_worker)
    ON CONFLICT (id) DO UPDATE SET beat = w.beat + 1, beaten = now(), slots = _slots, models = _models, state = _state,
        procrastinate_worker = _procrastinate_worker
$$;

CREATE FUNCTION distillery_bury_v1(_worker uuid, _beat bigint, _error jsonb) RETURNS SETOF text
LANGUAGE plpgsql AS $$
-- Removes a worker whose heartbeat stands still, and has its jobs run elsewhere. Returns their ids.
DECLARE _j record; _procrastinate bigint;
BEGIN
    DELETE FROM distillery_workers WHERE id = _worker AND beat = _beat RETURNING procrastinate_worker INTO _procrastinate;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    FOR _j IN SELECT id, run FROM distillery_jobs WHERE worker = _worker AND state = 'running' LOOP
        PERFORM distillery_requeue_v1(_j.id, _j.run, 'death', _error);
        RETURN NEXT _j.id;
    END LOOP;
    DELETE FROM procrastinate_workers WHERE id = _procrastinate;
END $$;

CREATE FUNCTION distillery_place_v1(_id text) RETURNS TABLE (place bigint, seconds double precision, slots bigint, uncorrected double precision)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT AS $$
-- Place in the queue (1: next) and seconds until a queued job starts, among the jobs that its workers can serve. No
-- seconds where no worker is there.
WITH me AS (SELECT * FROM distillery_jobs WHERE id = _id AND state = 'queued'),
eligible AS (
    SELECT w.* FROM distillery_workers w, me
    WHERE w.state = 'ready' AND (me.model IS NULL OR me.model = ANY (w.models)
        OR NOT EXISTS (SELECT 1 FROM distillery_workers o WHERE me.model = ANY (o.models)))),
known AS (SELECT array_agg(DISTINCT m) AS models FROM distillery_workers, unnest(models) AS m),
served AS (SELECT array_agg(DISTINCT m) AS models FROM eligible, unnest(models) AS m),
ahead AS (
    SELECT count(*) AS jobs, COALESCE(sum(q.cost), 0) AS cost FROM distillery_jobs q, me, known, served
    WHERE q.state = 'queued' AND (q.virtual_start, q.number) < (me.virtual_start, me.number)
        AND (q.model IS NULL OR q.model = ANY (COALESCE(served.models, '{}')) OR q.model <> ALL (COALESCE(known.models, '{}')))),
running AS (
    SELECT count(*) AS jobs, COALESCE(sum(GREATEST(0, r.cost - extract(epoch FROM now() - r.started))), 0) AS cost,
        COALESCE(avg(r.cost), 0) AS mean
    FROM distillery_jobs r WHERE r.state = 'running' AND r.worker IN (SELECT id FROM eligible)),
total AS (SELECT COALESCE(sum(e.slots), 0)::bigint AS slots FROM eligible e),
raw AS (
    SELECT CASE WHEN total.slots = 0 THEN NULL
        WHEN running.jobs + ahead.jobs < total.slots THEN 0
        -- It waits for the first slot that is free, not until all are: about half a job less.
        ELSE GREATEST(0, (running.cost + ahead.cost - running.mean * (total.slots - 1) / 2) / total.slots) END AS seconds
    FROM ahead, running, total)
SELECT ahead.jobs + 1, raw.seconds * distillery_correction_v1(), total.slots, raw.seconds FROM me, ahead, total, raw
$$;

CREATE FUNCTION distillery_take_delivery_v1(_kinds text[], _lease double precision)
RETURNS SETOF distillery_deliveries LANGUAGE sql AS $$
-- The next delivery that is due, left to the caller for so many seconds; afterwards another may take it.
    UPDATE distillery_deliveries SET attempts = attempts + 1, next_at = now() + make_interval(secs => _lease)
    WHERE id = (SELECT id FROM distillery_deliveries WHERE state = 'pending' AND kind = ANY (_kinds) AND next_at <= now()
                ORDER BY next_at FOR UPDATE SKIP LOCKED LIMIT 1)
    RETURNING *
$$;
