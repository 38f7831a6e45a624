-- The highest sequence that each device's disk was seen with (see storage-node/sequence.ts): a disk that comes back with a
-- lower one was set back. A table of its own, because it changes every few seconds.
CREATE TABLE device_sequences (
  device_id integer PRIMARY KEY REFERENCES devices ON DELETE CASCADE,
  sequence bigint NOT NULL
);
