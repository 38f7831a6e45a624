-- What a repair is about, beside the copies that there are: how much is queued, and how much of it is short, can then be
-- told from the queue alone, however long it is. Both are of when the need came, as `copies` is.
ALTER TABLE repair ADD COLUMN want smallint NOT NULL DEFAULT 0, ADD COLUMN size bigint NOT NULL DEFAULT 0;
UPDATE repair r SET want = b.want, size = b.size FROM blobs b WHERE b.fid = r.fid;

-- How many bytes a second all trackers together may have copied for repairs: 0 any, null as their setting says.
ALTER TABLE cluster ADD COLUMN repair_bytes_per_second bigint CHECK (repair_bytes_per_second >= 0);
