// A certificate authority of a test's own, and certificates of it.
import { execFileSync } from 'node:child_process';
import { mkdirSync, renameSync } from 'node:fs';
import { join } from 'node:path';

const NEW_KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
/** Where all parts of a test's cluster are. */
const HERE = 'IP:127.0.0.1,DNS:localhost';

export class Authority {
  readonly #directory: string;
  /** Its own certificate. */
  readonly file: string;

  constructor(directory: string, name: string) {
    this.#directory = join(directory, name);
    mkdirSync(this.#directory);
    this.file = this.#path('ca.pem');
    openssl(
      'req',
      '-x509',
      ...NEW_KEY,
      '-keyout',
      this.#path('ca.key'),
      '-out',
      this.file,
      '-subj',
      `/CN=${name}`,
    );
  }

  /** Makes a certificate, or renews it: the files keep their names, and each is replaced in one step. */
  issue(name: string, places = HERE): { cert: string; key: string } {
    const [key, order, cert] = [
      this.#path(`${name}.key`),
      this.#path(`${name}.csr`),
      this.#path(`${name}.pem`),
    ];
    const subject = ['-subj', `/CN=${name}`, '-addext', `subjectAltName=${places}`];
    openssl('req', '-new', ...NEW_KEY, '-keyout', `${key}.new`, '-out', order, ...subject);
    const signer = [
      '-CA',
      this.file,
      '-CAkey',
      this.#path('ca.key'),
      '-copy_extensions',
      'copy',
      '-days',
      '30',
    ];
    openssl('x509', '-req', '-in', order, '-out', `${cert}.new`, ...signer);
    for (const file of [key, cert]) renameSync(`${file}.new`, file);
    return { cert, key };
  }

  #path(file: string): string {
    return join(this.#directory, file);
  }
}

function openssl(...args: string[]): void {
  execFileSync('openssl', args, { stdio: 'pipe' });
}
