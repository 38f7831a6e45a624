// TLS between the parts: a listener's certificate, the authorities that others' are checked against, and a client
// certificate where one is asked for. The files are read again when they change, and on SIGHUP: certificates expire.
import { X509Certificate } from 'node:crypto';
import { readFileSync, unwatchFile, watchFile } from 'node:fs';
import type { Server as HttpServer } from 'node:http';
import type { Server as HttpsServer } from 'node:https';
import { createSecureContext } from 'node:tls';
import { buildConnector } from 'undici';
import { ConfigError } from './config-error.ts';
import type { Logger } from './logging.ts';

const NAMES = [
  'CISTERN_TLS_CERT_FILE',
  'CISTERN_TLS_KEY_FILE',
  'CISTERN_TLS_CA_FILE',
  'CISTERN_TLS_CLIENT_CA_FILE',
] as const;
type Name = (typeof NAMES)[number];

/** Paths of PEM files. */
export type TlsSettings = { [name in Name]?: string | undefined };

/** What the files hold. */
interface Material {
  cert?: Buffer;
  key?: Buffer;
  /** Authorities that servers are trusted by; without it, those that Node knows. */
  ca?: Buffer;
  /** Authorities that clients must have a certificate of. */
  clientCa?: Buffer;
}

/** Files are looked at this often. It is done by asking for their state: so links that are replaced are seen too. */
const LOOK_MS = 2_000;

export class Tls {
  readonly #settings: TlsSettings;
  readonly #log: Logger | undefined;
  #material: Material;
  /** Counts readings: connectors are made anew for each. */
  #reading = 0;
  #servers: HttpsServer[] = [];
  readonly #paths: string[];
  readonly #look = () => this.reload();

  /** @throws ConfigError if a file cannot be read, or they do not fit together */
  constructor(settings: TlsSettings, log?: Logger) {
    this.#settings = settings;
    this.#log = log;
    this.#material = read(settings);
    this.#paths = NAMES.map((name) => settings[name]).filter((path) => path !== undefined);
  }

  /** `https` if there is a certificate to listen with. */
  get scheme(): 'http' | 'https' {
    return this.#material.cert === undefined ? 'http' : 'https';
  }

  /** For `https.createServer`; undefined: plain HTTP. */
  listener() {
    const { cert, key, clientCa } = this.#material;
    if (cert === undefined || key === undefined) return undefined;
    const asks = clientCa !== undefined;
    return { cert, key, ...(asks && { ca: clientCa }), requestCert: asks, rejectUnauthorized: asks };
  }

  /** From now on the files are watched, and what they hold is given to this server (and to new connections). */
  watch(server: HttpServer): void {
    if (this.#material.cert !== undefined) this.#servers.push(server as HttpsServer);
    for (const path of this.#paths) watchFile(path, { interval: LOOK_MS, persistent: false }, this.#look);
  }

  /** Reads the files again. What cannot be used is logged, and the former certificates stay in use. */
  reload(): void {
    if (this.#paths.length === 0) return;
    try {
      this.#material = read(this.#settings);
      const { requestCert, rejectUnauthorized, ...context } = this.listener() ?? {};
      for (const server of this.#servers) server.setSecureContext(context);
      this.#reading++;
      this.#log?.info({ expires: this.expires?.toISOString() }, 'the TLS files were read again');
    } catch (error) {
      const why = (error as Error).message;
      this.#log?.error({ why }, 'the TLS files cannot be used; the former ones stay in use');
    }
  }

  /** How clients of ours connect: an undici connector that always uses what was read last. */
  connector(timeout: number): buildConnector.connector {
    let reading = -1;
    let connect: buildConnector.connector;
    return (options, callback) => {
      if (reading !== this.#reading) {
        const { cert, key, ca } = this.#material;
        const own = { ...(cert && { cert }), ...(key && { key }), ...(ca && { ca: ca.toString() }) };
        connect = buildConnector({ timeout, allowH2: false, ...own });
        reading = this.#reading;
      }
      connect(options, callback);
    };
  }

  /** When our certificate ends. */
  get expires(): Date | undefined {
    const { cert } = this.#material;
    return cert && new X509Certificate(cert).validToDate;
  }

  close(): void {
    for (const path of this.#paths) unwatchFile(path, this.#look);
  }
}

function read(settings: TlsSettings): Material {
  const cert = pem(settings, 'CISTERN_TLS_CERT_FILE');
  const key = pem(settings, 'CISTERN_TLS_KEY_FILE');
  const ca = pem(settings, 'CISTERN_TLS_CA_FILE');
  const clientCa = pem(settings, 'CISTERN_TLS_CLIENT_CA_FILE');
  if ((cert === undefined) !== (key === undefined)) {
    throw new ConfigError('CISTERN_TLS_CERT_FILE and CISTERN_TLS_KEY_FILE must be set together');
  }
  if (clientCa !== undefined && cert === undefined) {
    throw new ConfigError('CISTERN_TLS_CLIENT_CA_FILE is set, but there is no CISTERN_TLS_CERT_FILE');
  }
  if (cert && key) check('CISTERN_TLS_CERT_FILE and CISTERN_TLS_KEY_FILE', { cert, key });
  return { ...(cert && { cert }), ...(key && { key }), ...(ca && { ca }), ...(clientCa && { clientCa }) };
}

function pem(settings: TlsSettings, name: Name): Buffer | undefined {
  const path = settings[name];
  if (path === undefined) return undefined;
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    throw new ConfigError(`${name}: cannot read '${path}' (${(error as NodeJS.ErrnoException).code})`);
  }
  if (name === 'CISTERN_TLS_KEY_FILE') return bytes;
  try {
    new X509Certificate(bytes);
  } catch {
    throw new ConfigError(`${name}: '${path}' holds no certificate in PEM form`);
  }
  return bytes;
}

/** A certificate that is renewed is written apart from its key: for a moment they do not fit. */
function check(names: string, { cert, key }: Required<Pick<Material, 'cert' | 'key'>>): void {
  try {
    createSecureContext({ cert, key });
  } catch (error) {
    throw new ConfigError(`${names} do not fit together (${(error as Error).message})`);
  }
}
