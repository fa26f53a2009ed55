-- Every step of a job's life is one statement. A change of a function's meaning gets a new name (_v2), so that workers
-- of two versions run side by side.

CREATE FUNCTION distillery_cost_v1(_model text, _megapixels double precision) RETURNS double precision
LANGUAGE sql STABLE AS $$
    -- Seconds of a job: a line through what was measured for its model, else the mean, else that of all, else a guess.
    SELECT COALESCE((
        SELECT GREATEST(0.05, CASE
            WHEN n >= 4 AND n * sxx - sx * sx > 0.01 * n * sxx AND n * sxy - sx * sy > 0
            THEN (sy - (n * sxy - sx * sy) / (n * sxx - sx * sx) * sx) / n
                + (n * sxy - sx * sy) / (n * sxx - sx * sx) * _megapixels
            ELSE sy / n END)
        FROM distillery_seconds WHERE model IN (COALESCE(_model, ''), '*') AND n > 0
        ORDER BY model = '*' LIMIT 1
    ), 30)
$$;

CREATE FUNCTION distillery_load_v1() RETURNS bigint LANGUAGE sql STABLE AS $$
    -- Milliseconds that loading another checkpoint takes, measured; 15 s until it is known.
    SELECT COALESCE((
        SELECT (1000 * LEAST(60, GREATEST(0, switched_y / switched_n - stayed_y / stayed_n)))::bigint
        FROM distillery_seconds WHERE model = '*' AND switched_n >= 3 AND stayed_n >= 3
    ), 15000)
$$;

CREATE FUNCTION distillery_correction_v1() RETURNS double precision LANGUAGE sql STABLE AS $$
    -- How much longer than foretold the last jobs have waited: those that came after them and went first are not foreseen.
    SELECT COALESCE((
        SELECT LEAST(2, GREATEST(0.5, waited / foretold)) FROM distillery_seconds WHERE model = '*' AND foretold > 10
    ), 1)
$$;

CREATE FUNCTION distillery_wake_v1() RETURNS void LANGUAGE sql AS $$
    SELECT pg_notify('procrastinate_queue_v1#distillery', '{"type": "job_inserted", "job_id": 0}')
$$;

CREATE FUNCTION distillery_lower_floor_v1(_virtual_start bigint) RETURNS void LANGUAGE sql AS $$
    SELECT setval('distillery_floor', _virtual_start) FROM distillery_floor WHERE last_value > _virtual_start
$$;

CREATE FUNCTION distillery_defer_v1(_job text, _virtual_start bigint) RETURNS bigint LANGUAGE sql AS $$
    SELECT distillery_lower_floor_v1(_virtual_start);
    SELECT (procrastinate_defer_jobs_v1(ARRAY[ROW(
        'distillery', 'distillery.upscale', (-(_virtual_start / 100 % 2147483647))::integer, NULL, NULL,
        jsonb_build_object('job_id', _job), NULL)::procrastinate_job_to_defer_v1]))[1]
$$;

CREATE FUNCTION distillery_submit_v1(_job jsonb, _deliver jsonb, _estimate boolean) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    _id text := _job->>'id';
    _user text := COALESCE(_job->>'user', '');
    _tier distillery_tiers;
    _there distillery_jobs;
    _finish bigint; _start bigint; _cost double precision; _found bigint; _place record;
BEGIN
    SELECT * INTO _tier FROM distillery_tiers WHERE name = COALESCE(_job->>'tier', '');
    IF NOT FOUND THEN
        RETURN jsonb_build_object('refused', 'tier', 'tiers', (SELECT jsonb_agg(name) FROM distillery_tiers));
    END IF;
    INSERT INTO distillery_users (id) VALUES (_user) ON CONFLICT DO NOTHING;
    SELECT virtual_finish INTO _finish FROM distillery_users WHERE id = _user FOR UPDATE;
    SELECT * INTO _there FROM distillery_jobs WHERE id = _id;
    IF FOUND THEN
        IF _there.user_id <> _user OR _there.job->>'image' <> _job->>'image' OR _there.job->>'command' <> _job->>'command' THEN
            RETURN jsonb_build_object('refused', 'taken');
        END IF;
        RETURN jsonb_build_object('state', _there.state, 'again', true);
    END IF;
    IF _tier.max_queued IS NOT NULL THEN
        SELECT count(*) INTO _found FROM distillery_jobs WHERE user_id = _user AND state = 'queued';
        IF _found >= _tier.max_queued THEN
            RETURN jsonb_build_object('refused', 'queued', 'limit', _tier.max_queued, 'there', _found);
        END IF;
    END IF;
    IF _tier.max_daily IS NOT NULL THEN
        SELECT count(*) INTO _found FROM distillery_ledger
        WHERE user_id = _user AND event = 'accepted' AND at >= date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC';
        IF _found >= _tier.max_daily THEN
            RETURN jsonb_build_object('refused', 'daily', 'limit', _tier.max_daily, 'there', _found);
        END IF;
    END IF;
    _cost := distillery_cost_v1(_job->>'model', (_job->>'megapixels')::double precision);
    _start := GREATEST(_finish, (SELECT last_value FROM distillery_virtual_time));
    UPDATE distillery_users SET virtual_finish = _start + (1000 * _cost / _tier.weight)::bigint WHERE id = _user;
    INSERT INTO distillery_jobs (id, user_id, tier, job, deliver, model, megapixels, cost, virtual_start, deadline, task)
    VALUES (_id, _user, _tier.name, _job, _deliver, _job->>'model', (_job->>'megapixels')::real, _cost, _start,
            to_timestamp((_job->>'deadline')::double precision), distillery_defer_v1(_id, _start))
    ON CONFLICT (id) DO NOTHING;
    IF NOT FOUND THEN  -- another user's, in the same moment
        RAISE unique_violation USING MESSAGE = 'the id of the job is taken';
    END IF;
    INSERT INTO distillery_ledger (job_id, user_id, tier, event) VALUES (_id, _user, _tier.name, 'accepted');
    IF NOT _estimate THEN  -- it adds up all that is ahead
        RETURN jsonb_build_object('state', 'queued', 'again', false);
    END IF;
    SELECT * INTO _place FROM distillery_place_v1(_id);
    UPDATE distillery_jobs SET wait_estimate = _place.seconds, wait_uncorrected = _place.uncorrected WHERE id = _id;
    RETURN jsonb_build_object('state', 'queued', 'again', false, 'place', _place.place, 'seconds', _place.seconds,
                              'slots', _place.slots);
END $$;

CREATE FUNCTION distillery_end_v1(_id text, _state text, _error jsonb, _seconds double precision) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE _j distillery_jobs;
BEGIN
    UPDATE distillery_jobs SET state = _state, error = _error, finished = now(), stage = NULL
    WHERE id = _id RETURNING * INTO _j;
    DELETE FROM procrastinate_jobs WHERE id = _j.task;
    INSERT INTO distillery_ledger (job_id, user_id, tier, event, detail, seconds, waited, estimate)
    VALUES (_id, _j.user_id, _j.tier, _state, _error->>'kind', _seconds,
            extract(epoch FROM _j.started - _j.created), _j.wait_estimate);
    INSERT INTO distillery_deliveries (job_id, round, kind, target)
    SELECT _id, _j.round, d->>'kind', d->>'target' FROM jsonb_array_elements(_j.deliver) AS d
    ON CONFLICT DO NOTHING;
    IF FOUND THEN
        PERFORM pg_notify('distillery_deliveries', '');
    END IF;
    PERFORM pg_notify('distillery_job_' || _id, jsonb_build_object('state', _state)::text);
END $$;

CREATE FUNCTION distillery_claim_v1(_worker uuid, _procrastinate_worker bigint, _loaded text[], _elsewhere text[])
RETURNS TABLE (task bigint, job_id text, run integer, model text, job jsonb, deadline double precision)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    _claims bigint := (SELECT last_value FROM distillery_claims);
    _load bigint := distillery_load_v1();
    _floor bigint := (SELECT last_value FROM distillery_floor);
    _blocked text[]; _c record; _j distillery_jobs; _head distillery_jobs; _limit integer;
BEGIN
    IF EXISTS (SELECT 1 FROM distillery_tiers WHERE max_running IS NOT NULL) THEN
        SELECT array_agg(user_id) INTO _blocked FROM (
            SELECT r.user_id FROM distillery_jobs r JOIN distillery_tiers t ON t.name = r.tier
            WHERE r.state = 'running' AND t.max_running IS NOT NULL
            GROUP BY r.user_id, t.max_running HAVING count(*) >= t.max_running) AS full_users;
    END IF;
    FOR _c IN
        WITH ahead AS MATERIALIZED (
            SELECT id, model, virtual_start, number, due, user_id FROM distillery_jobs
            WHERE state = 'queued' AND virtual_start >= _floor AND (model IS NULL OR model <> ALL (_elsewhere))
                AND (_blocked IS NULL OR user_id <> ALL (_blocked))
            ORDER BY virtual_start, number LIMIT 64
        ), seen AS (
            SELECT *, row_number() OVER (ORDER BY virtual_start, number) AS place,
                first_value(id) OVER (PARTITION BY user_id ORDER BY virtual_start, number) AS head,
                min(virtual_start) OVER (PARTITION BY user_id) AS head_start,
                model IS NULL OR model = ANY (_loaded) AS ready,
                array_agg(id) FILTER (WHERE due IS NULL) OVER () AS fresh,
                array_agg(id) OVER (ORDER BY virtual_start, number
                    ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS in_order
            FROM ahead)
        SELECT * FROM seen
        ORDER BY COALESCE(due <= _claims, false) DESC, CASE WHEN due <= _claims THEN due END,
            -- Whose turn it is, is a matter of users; which of the user's jobs goes first, one of what is loaded.
            head_start + CASE WHEN ready THEN 0 ELSE _load END, virtual_start, number
    LOOP
        SELECT * INTO _j FROM distillery_jobs WHERE id = _c.id AND state = 'queued' FOR UPDATE SKIP LOCKED;
        IF NOT FOUND THEN
            CONTINUE;
        END IF;
        IF _j.deadline < now() THEN
            PERFORM distillery_end_v1(_j.id, 'expired', '{"kind": "deadline"}', NULL);
            CONTINUE;
        END IF;
        SELECT max_running INTO _limit FROM distillery_tiers WHERE name = _j.tier;
        IF _limit IS NOT NULL THEN  -- one claim of this user at a time, and counted anew within it
            IF NOT pg_try_advisory_xact_lock(hashtextextended('distillery ' || _j.user_id, 0)) THEN
                CONTINUE;
            END IF;
            IF (SELECT count(*) FROM distillery_jobs WHERE user_id = _j.user_id AND state = 'running') >= _limit THEN
                CONTINUE;
            END IF;
        END IF;
        IF _c.head <> _j.id THEN  -- it goes in the place of the user's first one, which takes its place
            SELECT * INTO _head FROM distillery_jobs WHERE id = _c.head AND state = 'queued' FOR UPDATE SKIP LOCKED;
            IF FOUND AND _head.virtual_start < _j.virtual_start THEN
                UPDATE distillery_jobs SET virtual_start = _j.virtual_start, due = COALESCE(due, _claims + 56)
                WHERE id = _head.id;
                _j.virtual_start := _head.virtual_start;
            END IF;
        END IF;
        UPDATE distillery_jobs SET state = 'running', worker = _worker, run = run + 1, started = now(), stage = NULL,
            virtual_start = _j.virtual_start, due = NULL
        WHERE id = _j.id;
        -- Those that were seen for the first time: from now on it is counted how often they are passed over.
        UPDATE distillery_jobs SET due = _claims + 56 + array_position(_c.in_order, distillery_jobs.id)
        WHERE distillery_jobs.id IN (
            SELECT q.id FROM distillery_jobs AS q WHERE q.id = ANY (_c.fresh) AND q.state = 'queued' AND q.due IS NULL
            FOR UPDATE SKIP LOCKED);
        PERFORM nextval('distillery_claims');
        IF _j.virtual_start > (SELECT last_value FROM distillery_virtual_time) THEN
            PERFORM setval('distillery_virtual_time', _j.virtual_start);
        END IF;
        UPDATE procrastinate_jobs SET status = 'doing', worker_id = _procrastinate_worker WHERE id = _j.task;
        RETURN QUERY SELECT _j.task, _j.id, _j.run + 1, _j.model, _j.job, extract(epoch FROM _j.deadline)::double precision;
        RETURN;
    END LOOP;
END $$;

CREATE FUNCTION distillery_store_v1(
    _id text, _worker uuid, _run integer, _result json, _object text, _seconds double precision, _switched boolean
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE _j distillery_jobs; _x double precision; _name text;
BEGIN
    SELECT * INTO _j FROM distillery_jobs WHERE id = _id FOR UPDATE;
    IF FOUND AND EXISTS (SELECT 1 FROM distillery_results WHERE job_id = _id AND worker = _worker AND run = _run) THEN
        RETURN true;  -- asked again, as the answer was lost
    END IF;
    IF _j.id IS NULL OR _j.state NOT IN ('running', 'queued') THEN
        INSERT INTO distillery_ledger (job_id, user_id, tier, event, detail)
        SELECT _id, COALESCE(_j.user_id, ''), COALESCE(_j.tier, ''), 'dropped', COALESCE(_j.state, 'unknown');
        RETURN false;
    END IF;
    INSERT INTO distillery_results (job_id, result, object, worker, run) VALUES (_id, _result, _object, _worker, _run)
    ON CONFLICT DO NOTHING;
    IF _j.worker IS DISTINCT FROM _worker OR _j.run <> _run THEN  -- it runs elsewhere too, in vain now
        UPDATE procrastinate_jobs SET abort_requested = true WHERE id = _j.task AND status = 'doing';
    END IF;
    PERFORM distillery_end_v1(_id, 'done', NULL, _seconds);
    _x := _j.megapixels;
    FOREACH _name IN ARRAY ARRAY['*', COALESCE(_j.model, '')] LOOP  -- in this order everywhere: no deadlock
        INSERT INTO distillery_seconds AS s (model, n, sx, sy, sxx, sxy, switched_n, switched_y, stayed_n, stayed_y)
        VALUES (_name, 1, _x, _seconds, _x * _x, _x * _seconds, _switched::int, _switched::int * _seconds,
                (NOT _switched)::int, (NOT _switched)::int * _seconds)
        ON CONFLICT (model) DO UPDATE SET
            n = s.n * 0.97 + 1, sx = s.sx * 0.97 + _x, sy = s.sy * 0.97 + _seconds, sxx = s.sxx * 0.97 + _x * _x,
            sxy = s.sxy * 0.97 + _x * _seconds,
            switched_n = s.switched_n * 0.97 + _switched::int, switched_y = s.switched_y * 0.97 + _switched::int * _seconds,
            stayed_n = s.stayed_n * 0.97 + (NOT _switched)::int,
            stayed_y = s.stayed_y * 0.97 + (NOT _switched)::int * _seconds;
    END LOOP;
    IF _j.wait_uncorrected > 0 AND _j.run = 1 THEN
        UPDATE distillery_seconds SET foretold = foretold * 0.97 + _j.wait_uncorrected,
            waited = waited * 0.97 + extract(epoch FROM _j.started - _j.created) WHERE model = '*';
    END IF;
    RETURN true;
END $$;

CREATE FUNCTION distillery_tell_v1(_id text, _run integer, _payload text, _stage text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);  -- nobody misses it after a crash
    PERFORM pg_notify('distillery_job_' || _id, _payload);
    IF _stage IS NOT NULL THEN
        UPDATE distillery_jobs SET stage = _stage WHERE id = _id AND run = _run AND state = 'running';
    END IF;
END $$;

CREATE FUNCTION distillery_fail_v1(_id text, _run integer, _state text, _error jsonb, _seconds double precision)
RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM distillery_jobs WHERE id = _id AND state = 'running' AND run = _run FOR UPDATE;
    IF FOUND THEN
        PERFORM distillery_end_v1(_id, _state, _error, _seconds);
        RETURN true;
    END IF;
    RETURN false;
END $$;

CREATE FUNCTION distillery_requeue_v1(_id text, _run integer, _why text, _error jsonb) RETURNS text
LANGUAGE plpgsql AS $$
-- _why: drained (counts for nothing), fault (of a server), death (of a worker). Returns the new state.
DECLARE _j distillery_jobs;
BEGIN
    SELECT * INTO _j FROM distillery_jobs WHERE id = _id AND state = 'running' AND run = _run FOR UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    IF _j.cancelling THEN
        PERFORM distillery_end_v1(_id, 'cancelled', '{"kind": "cancelled"}', NULL);
        RETURN 'cancelled';
    END IF;
    UPDATE distillery_jobs SET deaths = deaths + (_why = 'death')::int, faults = faults + (_why = 'fault')::int
    WHERE id = _id;
    IF (_why = 'death' AND _j.deaths >= 2) OR (_why = 'fault' AND _j.faults >= 2) THEN
        PERFORM distillery_end_v1(_id, 'failed', _error, NULL);
        RETURN 'failed';
    END IF;
    UPDATE distillery_jobs SET state = 'queued', worker = NULL, stage = NULL WHERE id = _id;
    PERFORM distillery_lower_floor_v1(_j.virtual_start);
    UPDATE procrastinate_jobs SET status = 'todo', worker_id = NULL, abort_requested = false WHERE id = _j.task;
    INSERT INTO distillery_ledger (job_id, user_id, tier, event, detail) VALUES (_id, _j.user_id, _j.tier, 'again', _why);
    PERFORM distillery_wake_v1();
    PERFORM pg_notify('distillery_job_' || _id, jsonb_build_object('state', 'queued', 'why', _why)::text);
    RETURN 'queued';
END $$;

CREATE FUNCTION distillery_cancel_v1(_id text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
-- Returns its state afterwards; that of a running one is still that, until its worker has taken it off.
DECLARE _j distillery_jobs;
BEGIN
    SELECT * INTO _j FROM distillery_jobs WHERE id = _id FOR UPDATE;
    IF _j.state = 'queued' THEN
        PERFORM distillery_end_v1(_id, 'cancelled', '{"kind": "cancelled"}', NULL);
        RETURN 'cancelled';
    ELSIF _j.state = 'running' THEN
        UPDATE distillery_jobs SET cancelling = true WHERE id = _id;
        UPDATE procrastinate_jobs SET abort_requested = true WHERE id = _j.task AND status = 'doing';
    END IF;
    RETURN _j.state;
END $$;

CREATE FUNCTION distillery_replay_v1(_id text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
-- Puts a job that failed, was cancelled or expired back into the queue. Returns the state that it had.
DECLARE _j distillery_jobs; _start bigint;
BEGIN
    SELECT * INTO _j FROM distillery_jobs WHERE id = _id FOR UPDATE;
    IF _j.state NOT IN ('failed', 'cancelled', 'expired') THEN
        RETURN _j.state;
    END IF;
    _start := (SELECT last_value FROM distillery_virtual_time);
    UPDATE distillery_jobs SET state = 'queued', deaths = 0, faults = 0, cancelling = false, error = NULL, worker = NULL,
        finished = NULL, started = NULL, due = NULL, round = round + 1, virtual_start = _start,
        deadline = CASE WHEN deadline > now() THEN deadline END, task = distillery_defer_v1(_id, _start)
    WHERE id = _id;
    INSERT INTO distillery_ledger (job_id, user_id, tier, event) VALUES (_id, _j.user_id, _j.tier, 'replayed');
    RETURN _j.state;
END $$;
