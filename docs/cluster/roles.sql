-- Roles with least rights. Run once as the owner of the database, after `distillery worker --migrate`:
--   psql -d distillery -f roles.sql
-- Then make a user for each: CREATE ROLE worker1 LOGIN IN ROLE distillery_worker; \password worker1

DO $$ BEGIN
    CREATE ROLE distillery_worker NOLOGIN;
EXCEPTION WHEN duplicate_object THEN NULL; END $$;
DO $$ BEGIN
    CREATE ROLE distillery_client NOLOGIN;
EXCEPTION WHEN duplicate_object THEN NULL; END $$;
DO $$ BEGIN
    CREATE ROLE distillery_monitor NOLOGIN;
EXCEPTION WHEN duplicate_object THEN NULL; END $$;

REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO distillery_worker, distillery_client, distillery_monitor;

-- Looks, changes nothing: metrics, KEDA, the dashboard of somebody else.
GRANT SELECT ON distillery_jobs, distillery_workers, distillery_tiers, distillery_deliveries, distillery_ledger,
    distillery_schema TO distillery_monitor;

-- Submits, follows, cancels, replays; changes jobs through functions alone. A front end: it answers for its users.
GRANT SELECT ON distillery_jobs, distillery_results, distillery_workers, distillery_tiers, distillery_deliveries,
    distillery_ledger, distillery_settings, distillery_schema TO distillery_client;
GRANT UPDATE ON distillery_deliveries TO distillery_client;
GRANT EXECUTE ON FUNCTION distillery_submit_v1, distillery_place_v1, distillery_cancel_v1, distillery_replay_v1,
    distillery_take_delivery_v1 TO distillery_client;

-- Runs jobs. It may change the queue, not the schema, and neither tiers nor limits.
GRANT SELECT ON ALL TABLES IN SCHEMA public TO distillery_worker;
GRANT INSERT, UPDATE, DELETE ON distillery_jobs, distillery_results, distillery_deliveries, distillery_workers,
    distillery_seconds, distillery_ledger, distillery_settings, procrastinate_jobs, procrastinate_workers,
    procrastinate_events, procrastinate_periodic_defers TO distillery_worker;
GRANT USAGE, SELECT, UPDATE ON ALL SEQUENCES IN SCHEMA public TO distillery_worker;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO distillery_worker;
REVOKE EXECUTE ON FUNCTION distillery_submit_v1, distillery_replay_v1 FROM distillery_worker;
