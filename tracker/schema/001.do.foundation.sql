-- The cluster, its domains and who may enter them; hosts and devices.
-- Times are the database's: no other clock decides anything here.

CREATE TABLE cluster (
  only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
  id uuid NOT NULL DEFAULT gen_random_uuid(),
  -- 'system identifier:timeline' of the database that fids were last allocated on. If it changes (failover, restore),
  -- next_fid is moved beyond every fid that a node has seen, and the sweep starts from there.
  database_identity text,
  next_fid bigint NOT NULL DEFAULT 1,
  sweep_from bigint NOT NULL DEFAULT 1,
  -- When a tracker last began to compare the copies of all blobs with what their classes want.
  scanned timestamptz NOT NULL DEFAULT '-infinity',
  created timestamptz NOT NULL DEFAULT now()
);
INSERT INTO cluster DEFAULT VALUES;

CREATE TABLE domains (
  id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name text COLLATE "C" NOT NULL,
  trash_days integer NOT NULL DEFAULT 30 CHECK (trash_days >= 0),
  created timestamptz NOT NULL DEFAULT now(),
  -- Set when it was deleted with all it holds: it is then emptied in the background, and its name is free at once.
  dropped timestamptz
);
CREATE UNIQUE INDEX domains_name ON domains (name) WHERE dropped IS NULL;

CREATE TABLE classes (
  id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  domain_id integer NOT NULL REFERENCES domains,
  name text COLLATE "C" NOT NULL,
  copies smallint NOT NULL DEFAULT 2 CHECK (copies BETWEEN 1 AND 16),
  min_copies smallint NOT NULL DEFAULT 2 CHECK (min_copies >= 1),
  prefixes text[] NOT NULL DEFAULT '{}',
  trash boolean NOT NULL DEFAULT true,
  UNIQUE (domain_id, name),
  CHECK (min_copies <= copies)
);

CREATE TABLE tokens (
  id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name text NOT NULL,
  hash bytea NOT NULL UNIQUE,
  scopes text[] NOT NULL CHECK (scopes <@ '{read,write,admin}' AND scopes <> '{}'),
  domain_id integer REFERENCES domains ON DELETE CASCADE,
  prefix text NOT NULL DEFAULT '',
  redirect boolean NOT NULL DEFAULT false,
  expires timestamptz,
  created timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE hosts (
  id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name text COLLATE "C" NOT NULL UNIQUE,
  url text NOT NULL UNIQUE,
  zone text COLLATE "C" NOT NULL DEFAULT 'default',
  -- The present run of its storage node and the one before: receipts of both are accepted.
  session text NOT NULL,
  previous_session text,
  created timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE devices (
  id integer PRIMARY KEY,
  host_id integer NOT NULL REFERENCES hosts,
  uuid uuid NOT NULL UNIQUE,
  state text NOT NULL DEFAULT 'alive' CHECK (state IN ('alive', 'readonly', 'drain', 'dead')),
  state_since timestamptz NOT NULL DEFAULT now(),
  weight smallint NOT NULL DEFAULT 100 CHECK (weight BETWEEN 0 AND 1000),
  -- When a tracker last began to compare its inventory with the locations.
  swept timestamptz NOT NULL DEFAULT '-infinity'
);
CREATE INDEX devices_host ON devices (host_id);

-- What changes every few seconds stays out of the tables that everything else refers to.
CREATE TABLE heartbeats (
  host_id integer PRIMARY KEY REFERENCES hosts ON DELETE CASCADE,
  at timestamptz NOT NULL DEFAULT now(),
  clock_offset_ms bigint NOT NULL DEFAULT 0,
  highest_fid bigint NOT NULL DEFAULT 0,
  reports jsonb NOT NULL DEFAULT '[]'
);

CREATE TABLE trackers (
  id uuid PRIMARY KEY,
  url text NOT NULL,
  version text NOT NULL,
  started timestamptz NOT NULL DEFAULT now(),
  seen timestamptz NOT NULL DEFAULT now()
);
