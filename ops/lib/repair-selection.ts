// What the parts of `cistern repair` share.

/** Which files are meant, as the tracker's API names them; all if nothing is named. */
export interface Selection {
  domain?: string;
  class?: string;
  prefix?: string;
  device?: number;
}

/** A repair outlives the restart of a tracker or of the database. Milliseconds. */
export const AWAY_MS = 60_000;

/** Without a terminal a line is printed this often, if something changed. Milliseconds. */
export const REPORT_MS = 5_000;
