// TLS as the command's environment sets it: which authorities trackers and storage nodes are trusted by, and a client
// certificate where they ask for one.
import { ConfigError } from '../../services/config-error.ts';
import { Tls } from '../../services/tls.ts';
import { usage } from './failure.ts';

/** @throws Failure (exit 2) if a file cannot be used */
export function ownTls(env: NodeJS.ProcessEnv = process.env): Tls {
  const { CISTERN_TLS_CERT_FILE, CISTERN_TLS_KEY_FILE, CISTERN_TLS_CA_FILE } = env;
  try {
    return new Tls({ CISTERN_TLS_CERT_FILE, CISTERN_TLS_KEY_FILE, CISTERN_TLS_CA_FILE });
  } catch (error) {
    throw error instanceof ConfigError ? usage(error.message) : error;
  }
}
