-- Names, blobs and where their replicas are. docs/consistency.md says what must hold here and what protects it.

CREATE TABLE blobs (
  fid bigint PRIMARY KEY,
  -- live: named, in the trash, or queued in reap. gone: its replicas are being removed. void: the fid was burned, a
  -- commit of it fails. Rows that are gone or void stay as tombstones for longer than a receipt is accepted.
  state text NOT NULL CHECK (state IN ('live', 'gone', 'void')),
  want smallint NOT NULL,
  size bigint NOT NULL,
  sha256 bytea NOT NULL,
  -- The answer that its commit was given (whether the name was new), for a commit that is repeated.
  created boolean NOT NULL,
  at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX blobs_tombstones ON blobs (at) WHERE state <> 'live';

CREATE TABLE locations (
  fid bigint NOT NULL,
  device_id integer NOT NULL,
  -- bad: known to be corrupt or lost. removing: the only state in which a node is told to unlink, and nothing is
  -- placed over it; `at` is then when the last permission to unlink was given, 'epoch' if none was yet.
  state text NOT NULL DEFAULT 'good' CHECK (state IN ('good', 'bad', 'removing')),
  at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (fid, device_id)
);
CREATE INDEX locations_device ON locations (device_id, fid);
-- By device, so that what a device that is down holds does not stand in the way of the others.
CREATE INDEX locations_removing ON locations (device_id, at) WHERE state = 'removing';

-- `path` is '' for the root, else 'a/b/'. A removed tree is detached first: its paths then begin with '/<id>/', which
-- no key can, and it is purged in batches.
CREATE TABLE dirs (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  domain_id integer NOT NULL REFERENCES domains,
  path text COLLATE "C" NOT NULL,
  UNIQUE (domain_id, path)
);
CREATE INDEX dirs_detached ON dirs (domain_id, id) WHERE path >= '/' AND path < '0';

CREATE TABLE names (
  dir_id bigint NOT NULL REFERENCES dirs,
  name text COLLATE "C" NOT NULL,
  child_id bigint REFERENCES dirs,
  fid bigint REFERENCES blobs,
  class_id integer REFERENCES classes,
  content_type text,
  mtime timestamptz NOT NULL DEFAULT now(),
  meta jsonb,
  PRIMARY KEY (dir_id, name),
  CHECK ((child_id IS NULL) <> (fid IS NULL)),
  CHECK ((fid IS NULL) = (class_id IS NULL))
);
CREATE UNIQUE INDEX names_child ON names (child_id) WHERE child_id IS NOT NULL;
CREATE INDEX names_fid ON names (fid) WHERE fid IS NOT NULL;
-- Tells at once that a move cannot make a key too long: nearly no name is longer than this.
CREATE INDEX names_long ON names (dir_id) WHERE octet_length(name) > 255;

CREATE TABLE trash (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  domain_id integer NOT NULL REFERENCES domains,
  key text COLLATE "C" NOT NULL,
  fid bigint NOT NULL REFERENCES blobs,
  class_id integer NOT NULL REFERENCES classes,
  content_type text NOT NULL,
  mtime timestamptz NOT NULL,
  meta jsonb,
  reason text NOT NULL CHECK (reason IN ('deleted', 'replaced')),
  at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX trash_newest ON trash (domain_id, id);
CREATE INDEX trash_key ON trash (domain_id, key, id);
CREATE INDEX trash_fid ON trash (fid);
CREATE INDEX trash_class ON trash (class_id);
CREATE INDEX names_class ON names (class_id) WHERE class_id IS NOT NULL;

-- Append-only, duplicates allowed: an upsert could lose a need to the reaper that is just finishing the same fid.
CREATE TABLE reap (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  fid bigint NOT NULL,
  at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX reap_at ON reap (at);

-- Where repair looks first. `version` grows with every new need, so that a worker finishes only what it claimed.
CREATE TABLE repair (
  fid bigint PRIMARY KEY,
  copies smallint NOT NULL,
  version integer NOT NULL DEFAULT 1,
  attempts integer NOT NULL DEFAULT 0,
  next_try timestamptz NOT NULL DEFAULT now(),
  -- A worker has claimed it until then. Apart from next_try, so that a new need is not kept waiting by a back-off and
  -- does not set a second worker on a blob that one is already copying.
  leased_until timestamptz NOT NULL DEFAULT '-infinity',
  -- What the last attempt failed for; null before the first.
  why text,
  at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX repair_next ON repair (copies, next_try);
CREATE INDEX repair_stuck ON repair (copies, fid) WHERE why IS NOT NULL;
CREATE INDEX repair_at ON repair (at);

-- First answers of requests that carried an Idempotency-Key.
CREATE TABLE idempotency (
  domain_id integer NOT NULL REFERENCES domains ON DELETE CASCADE,
  key text NOT NULL,
  request text NOT NULL,
  answer jsonb,
  at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (domain_id, key)
);
CREATE INDEX idempotency_at ON idempotency (at);

-- The class that a key's prefix chooses: the longest that fits, else 'default'.
CREATE FUNCTION class_for(domain integer, key text) RETURNS integer LANGUAGE sql STABLE AS $$
  SELECT coalesce(
    (SELECT c.id FROM classes c CROSS JOIN unnest(c.prefixes) AS p (prefix)
      WHERE c.domain_id = domain AND starts_with(key, p.prefix) ORDER BY length(p.prefix) DESC, c.id LIMIT 1),
    (SELECT c.id FROM classes c WHERE c.domain_id = domain AND c.name = 'default'))
$$;
