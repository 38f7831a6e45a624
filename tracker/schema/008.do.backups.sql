-- Backups of this database that trackers have stored on the cluster's own devices.

CREATE TABLE backups (
  name text COLLATE "C" PRIMARY KEY,
  -- The instant that it shows.
  at timestamptz NOT NULL,
  size bigint NOT NULL,
  sha256 bytea NOT NULL,
  device_ids integer[] NOT NULL
);

-- When a tracker last began one by itself. A new cluster has nothing to lose yet: its first comes an interval later.
ALTER TABLE cluster ADD COLUMN backup_begun timestamptz NOT NULL DEFAULT now();
