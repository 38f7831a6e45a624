-- The life cycle of devices beyond their state, spread over zones, classes applied to files that were there before,
-- and rebalancing.

ALTER TABLE classes
  -- What copies are spread over: different hosts, or different zones where there are enough of them.
  ADD COLUMN spread text NOT NULL DEFAULT 'host' CHECK (spread IN ('host', 'zone'));

ALTER TABLE devices
  -- Until then a commit counts it. A drain sets it: uploads that began before may still arrive, for so long.
  ADD COLUMN accepts_until timestamptz NOT NULL DEFAULT 'infinity',
  -- An operator wants it back though it was dead. It stays dead until nothing of before is on record, then it is
  -- readonly until its inventory was compared.
  ADD COLUMN reviving boolean NOT NULL DEFAULT false,
  -- When it came back from the dead: what its node signed before proves nothing.
  ADD COLUMN revived timestamptz,
  -- The tracker that compares the inventory of a reviving device has it until then.
  ADD COLUMN revive_lease timestamptz NOT NULL DEFAULT '-infinity',
  -- What the first walk since the drain began found on it, and what the last one did: {replicas, bytes, at}.
  ADD COLUMN drain_first jsonb,
  ADD COLUMN drain_last jsonb,
  -- Rebalancing looks next at the replicas after this fid.
  ADD COLUMN rebalanced_after bigint NOT NULL DEFAULT 0;

-- Rebalancing: one tracker at a time holds the lease and moves.
CREATE TABLE rebalance (
  only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
  enabled boolean NOT NULL DEFAULT true,
  -- Since when data is being moved; null while all devices are within the band.
  started timestamptz,
  moved_blobs bigint NOT NULL DEFAULT 0,
  moved_bytes bigint NOT NULL DEFAULT 0,
  finished timestamptz,
  lease timestamptz NOT NULL DEFAULT '-infinity',
  -- Why nothing moves though some device is outside of the band.
  why text
);
INSERT INTO rebalance DEFAULT VALUES;

-- The prefixes of a domain's classes were changed: files whose class was chosen by their key get the one that their
-- key chooses now. `former` and `present` are [{"id", "prefixes"}] of all its classes, before and after; `after_path` and
-- `after_name` are how far it has come; no name comes after null.
CREATE TABLE reclass (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  domain_id integer NOT NULL REFERENCES domains ON DELETE CASCADE,
  former jsonb NOT NULL,
  present jsonb NOT NULL,
  after_path text COLLATE "C" NOT NULL DEFAULT '',
  after_name text COLLATE "C" DEFAULT ''
);

-- Which of `classes` a key's prefix chooses: the longest that fits, else null (the class 'default').
CREATE FUNCTION class_among(classes jsonb, key text) RETURNS integer LANGUAGE sql IMMUTABLE AS $$
  SELECT (c->>'id')::integer FROM jsonb_array_elements(classes) c, jsonb_array_elements_text(c->'prefixes') p (prefix)
  WHERE starts_with(key, p.prefix) ORDER BY length(p.prefix) DESC, (c->>'id')::integer LIMIT 1
$$;
