// What is to be known of a MogileFS to move its files, wherever it is read from: its trackers, or a dump of its database.

export interface MogileDomain {
  name: string;
  classes: { name: string; mindevcount: number }[];
}

export interface MogileFile {
  fid: string;
  class: string;
  /** Bytes. */
  length: number;
  /** 'MD5:<hex>', if the class keeps checksums. */
  checksum?: string | undefined;
}

export interface MogileSource {
  domains(): Promise<MogileDomain[]>;
  /** The keys of a domain, page by page. */
  keys(domain: string): AsyncGenerator<string[]>;
  /** Undefined if the key is not there (any more). */
  file(domain: string, key: string): Promise<MogileFile | undefined>;
  /** URLs (`http:` at storage nodes, `file:` on this machine) that may hold the file. */
  paths(domain: string, key: string): Promise<string[]>;
  close(): void;
}
