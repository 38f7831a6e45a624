// A PostgreSQL that takes TLS connections only, with a certificate of a test's authority.
import { chmodSync, chownSync, copyFileSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Authority } from './certificates.ts';
import { EmbeddedServer } from './embedded-postgres.ts';

export class TlsServer {
  readonly #server: EmbeddedServer;

  private constructor(server: EmbeddedServer) {
    this.#server = server;
  }

  static async create(authority: Authority): Promise<TlsServer> {
    const server = await EmbeddedServer.create();
    const [row] = await server.sql<{ data_directory: string }>('SHOW data_directory');
    const data = (row as { data_directory: string }).data_directory;
    const { cert, key } = authority.issue('postgres');
    const { uid, gid } = statSync(data);
    for (const [from, name] of [
      [cert, 'server.crt'],
      [key, 'server.key'],
    ] as const) {
      const to = join(data, name);
      copyFileSync(from, to);
      chownSync(to, uid, gid);
      chmodSync(to, 0o600);
    }
    const rules = join(data, 'pg_hba.conf');
    writeFileSync(rules, readFileSync(rules, 'utf8').replace(/^host\b/gm, 'hostssl'));
    await server.sql('CREATE DATABASE cistern');
    await server.set('ssl', 'on');
    return new TlsServer(server);
  }

  /** Of the database `cistern`, with these parameters. By name: certificates are checked against names here. */
  url(parameters: string): string {
    const url = new URL(this.#server.url);
    url.hostname = 'localhost';
    url.pathname = '/cistern';
    return `${url.href}?${parameters}`;
  }

  /** Runs SQL as the superuser; without looking whom it speaks to. */
  async sql<Row extends object>(text: string): Promise<Row[]> {
    return await this.#server.sql<Row>(text, 'cistern', 'sslmode=no-verify');
  }

  remove(): Promise<void> {
    return this.#server.remove();
  }
}
