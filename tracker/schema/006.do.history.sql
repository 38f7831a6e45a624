-- Time travel: what every name was, for as long as the trash keeps versions (docs/decisions/history-of-names.md).
-- A row of names holds since `since`. When it is changed, moved or removed, what it was goes to the trash or else to
-- history, as [since, until). Rows refer to directories by number, so a renamed directory is one row here too.

-- The time of this transaction's changes: when it began, or, of those that change the tree of directories one after
-- the other, when they got the domain's lock (namespace/directories.ts).
CREATE FUNCTION writing_at() RETURNS timestamptz LANGUAGE sql STABLE AS $$
  SELECT coalesce(nullif(current_setting('cistern.at', true), '')::timestamptz, now())
$$;

ALTER TABLE domains
  -- Its names are known from then on: no rewind goes back before.
  ADD known_since timestamptz NOT NULL DEFAULT now(),
  -- Grows with every rewind, so that a write which was planned before one and runs after it can be told.
  ADD rewound integer NOT NULL DEFAULT 0;

ALTER TABLE names ADD since timestamptz NOT NULL DEFAULT '-infinity';
ALTER TABLE names ALTER since SET DEFAULT writing_at();

-- Null in versions from before there was a history.
ALTER TABLE trash ADD dir_id bigint, ADD since timestamptz, DROP CONSTRAINT trash_reason_check,
  ADD CHECK (reason IN ('deleted', 'replaced', 'rewound'));

-- What names were and the trash does not hold: moved and changed names, directories, versions of classes without
-- trash, versions that were restored or given up. In the row with dir_id 0, child_id was the domain's root.
CREATE TABLE history (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  domain_id integer NOT NULL,
  dir_id bigint NOT NULL,
  name text COLLATE "C" NOT NULL,
  child_id bigint,
  fid bigint,
  class_id integer,
  content_type text,
  mtime timestamptz NOT NULL,
  meta jsonb,
  since timestamptz NOT NULL,
  until timestamptz NOT NULL
);
CREATE INDEX history_oldest ON history (domain_id, id);

CREATE TABLE rewinds (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  domain_id integer NOT NULL REFERENCES domains ON DELETE CASCADE,
  at timestamptz NOT NULL,
  target timestamptz NOT NULL,
  counts jsonb NOT NULL
);
CREATE INDEX rewinds_newest ON rewinds (domain_id, id);

-- Writes share a lock on their domain, a rewind has it alone. False: there is a rewind, or there was one since
-- `seen`, the domain's `rewound`, was read. Nothing waits here: a session that did would be missing to the readers.
CREATE FUNCTION enter_domain(domain integer, seen integer) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  IF NOT pg_try_advisory_xact_lock_shared(3093, domain) THEN
    RETURN false;
  END IF;
  -- A statement of its own, in a volatile function: it sees what was committed until now.
  RETURN coalesce((SELECT m.rewound = seen FROM domains m WHERE m.id = domain), true);
END $$;

-- The same at the beginning of a transaction, whose statements all come after. RW001: not now.
CREATE FUNCTION enter_domain(domain integer) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF NOT pg_try_advisory_xact_lock_shared(3093, domain) THEN
    RAISE EXCEPTION 'domain % is being rewound', domain USING ERRCODE = 'RW001';
  END IF;
END $$;

-- One name is changed by one after the other, though their transactions may have begun the other way round.
CREATE FUNCTION name_since() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.since := greatest(OLD.since, writing_at());
  RETURN NEW;
END $$;
CREATE TRIGGER name_changing BEFORE UPDATE ON names FOR EACH ROW EXECUTE FUNCTION name_since();

-- As in 003, with history. What fills neither trash nor history: a row that is changed again in its own transaction.
CREATE OR REPLACE FUNCTION version_unnamed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'UPDATE' THEN
    -- An upload that replaces nothing comes by here too.
    IF NOT EXISTS (SELECT FROM old_rows) THEN
      RETURN NULL;
    END IF;
    -- Old and new rows are paired by a sort: a join of the two would be planned for few rows and meet many. A row that
    -- was moved has no new one in its place: then nothing is un-named.
    WITH side AS (
      SELECT true AS old, r.* FROM old_rows r UNION ALL SELECT false, r.* FROM new_rows r
    ), paired AS (
      SELECT s.*, lead(s.since) OVER place AS next_since, lead(s.fid) OVER place AS next_fid
      FROM side s WINDOW place AS (PARTITION BY s.dir_id, s.name ORDER BY s.old DESC)
    ), closed AS MATERIALIZED (
      SELECT p.*, d.domain_id, d.path || p.name AS key, coalesce(p.next_since, greatest(p.since, writing_at())) AS until,
        p.fid IS NOT NULL AND p.next_since IS NOT NULL AND p.fid IS DISTINCT FROM p.next_fid AS lost,
        m.trash_days > 0 AND m.dropped IS NULL AS remembered, coalesce(c.trash, false) AS trashed
      FROM paired p JOIN dirs d ON d.id = p.dir_id JOIN domains m ON m.id = d.domain_id
        LEFT JOIN classes c ON c.id = p.class_id
      WHERE p.old
    ), kept AS (
      INSERT INTO trash (domain_id, key, fid, class_id, content_type, mtime, meta, reason, dir_id, since, at)
      SELECT domain_id, key, fid, class_id, content_type, mtime, meta, 'replaced', dir_id, since, until
      FROM closed WHERE lost AND remembered AND trashed
    ), past AS (
      INSERT INTO history (domain_id, dir_id, name, child_id, fid, class_id, content_type, mtime, meta, since, until)
      SELECT domain_id, dir_id, name, child_id, fid, class_id, content_type, mtime, meta, since, until
      FROM closed WHERE remembered AND NOT (lost AND trashed) AND until > since
    )
    INSERT INTO reap (fid) SELECT fid FROM closed WHERE lost AND NOT (remembered AND trashed);
  ELSE
    WITH closed AS MATERIALIZED (
      SELECT o.*, d.domain_id, greatest(o.since, writing_at()) AS until,
        -- A detached tree's paths begin with '/<id>/': the key is what follows.
        CASE WHEN d.path LIKE '/%' THEN substring(d.path FROM '^/[0-9]+/(.*)$') ELSE d.path END || o.name AS key,
        m.trash_days > 0 AND m.dropped IS NULL AS remembered, coalesce(c.trash, false) AS trashed
      FROM old_rows o JOIN dirs d ON d.id = o.dir_id JOIN domains m ON m.id = d.domain_id
        LEFT JOIN classes c ON c.id = o.class_id
    ), kept AS (
      INSERT INTO trash (domain_id, key, fid, class_id, content_type, mtime, meta, reason, dir_id, since, at)
      SELECT domain_id, key, fid, class_id, content_type, mtime, meta,
        coalesce(nullif(current_setting('cistern.unnaming', true), ''), 'deleted'), dir_id, since, until
      FROM closed WHERE remembered AND trashed
    ), past AS (
      INSERT INTO history (domain_id, dir_id, name, child_id, fid, class_id, content_type, mtime, meta, since, until)
      SELECT domain_id, dir_id, name, child_id, fid, class_id, content_type, mtime, meta, since, until
      FROM closed WHERE remembered AND NOT trashed AND until > since
    )
    INSERT INTO reap (fid) SELECT fid FROM closed WHERE fid IS NOT NULL AND NOT (remembered AND trashed);
  END IF;
  RETURN NULL;
END $$;

-- A version that leaves the trash before its time, restored or given up, was there all the same.
CREATE OR REPLACE FUNCTION version_forgotten() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO history (domain_id, dir_id, name, fid, class_id, content_type, mtime, meta, since, until)
  SELECT o.domain_id, o.dir_id, substring(o.key FROM '[^/]*$'), o.fid, o.class_id, o.content_type, o.mtime, o.meta,
    o.since, o.at
  FROM old_rows o JOIN domains m ON m.id = o.domain_id
  WHERE o.at > o.since AND o.at > now() - m.trash_days * interval '1 day' AND m.dropped IS NULL;
  INSERT INTO reap (fid) SELECT DISTINCT fid FROM old_rows;
  RETURN NULL;
END $$;
