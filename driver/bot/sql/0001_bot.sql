-- What the bot keeps, beside the cluster's own tables. Ids of Discord's are snowflakes.

CREATE TABLE distillery_bot_requests (
    id text PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('one', 'auto', 'sweep')),
    state text NOT NULL DEFAULT 'received'
        CHECK (state IN ('received', 'waiting', 'delivered', 'kept', 'refused', 'deleted')),
    user_id bigint NOT NULL,
    guild_id bigint,
    channel_id bigint,
    application_id bigint NOT NULL,
    in_guild boolean NOT NULL DEFAULT true,
    token text,
    token_until timestamptz,
    message_id bigint,
    size_limit bigint NOT NULL,
    source jsonb NOT NULL,
    command text NOT NULL,
    tier text NOT NULL,
    data jsonb NOT NULL DEFAULT '{}',
    delivered_by text,
    created timestamptz NOT NULL DEFAULT now(),
    ended timestamptz
);
COMMENT ON COLUMN distillery_bot_requests.id IS 'Of the interaction; also that of its first job, as 32 hexadecimal digits.';
COMMENT ON COLUMN distillery_bot_requests.token IS 'Of the interaction: edits its answer for 15 minutes, and is deleted then.';
COMMENT ON COLUMN distillery_bot_requests.in_guild IS 'False where the app is the user''s alone, so that the bot cannot write there.';
COMMENT ON COLUMN distillery_bot_requests.data IS 'What the card shows and buttons need: see driver/bot/values.py.';
CREATE INDEX distillery_bot_requests_open ON distillery_bot_requests (state) WHERE state IN ('received', 'waiting', 'kept');
CREATE INDEX distillery_bot_requests_user ON distillery_bot_requests (user_id, created);
CREATE INDEX distillery_bot_requests_message ON distillery_bot_requests (message_id) WHERE message_id IS NOT NULL;

CREATE TABLE distillery_bot_jobs (
    job_id text PRIMARY KEY,
    request_id text NOT NULL REFERENCES distillery_bot_requests ON DELETE CASCADE,
    number integer NOT NULL,
    command text NOT NULL,
    UNIQUE (request_id, number)
);

CREATE TABLE distillery_bot_pictures (
    id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    file_hash text NOT NULL,
    pixel_hash text NOT NULL,
    attachment_id bigint,
    request_id text NOT NULL,
    generation jsonb NOT NULL,
    created timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE distillery_bot_pictures IS 'The bot''s own results, so that one whose metadata is gone is recalled all the same.';
CREATE UNIQUE INDEX distillery_bot_pictures_file ON distillery_bot_pictures (file_hash);
CREATE INDEX distillery_bot_pictures_pixel ON distillery_bot_pictures (pixel_hash);
CREATE INDEX distillery_bot_pictures_attachment ON distillery_bot_pictures (attachment_id);

CREATE TABLE distillery_bot_settings (
    scope text PRIMARY KEY,
    data jsonb NOT NULL DEFAULT '{}'
);
COMMENT ON TABLE distillery_bot_settings IS 'By guild:ID what its managers chose; bot: whether it takes requests.';

CREATE TABLE distillery_bot_bans (
    kind text NOT NULL CHECK (kind IN ('user', 'guild')),
    id bigint NOT NULL,
    reason text NOT NULL DEFAULT '',
    banned_by bigint NOT NULL,
    until timestamptz,
    created timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (kind, id)
);
