// Every error that Cistern answers over HTTP, in one table: its stable type, its status and its title.
// Answers are problem+json (RFC 9457); `type` is `urn:cistern:problem:<name>`. docs/http-api.md lists the same.

const table = {
  'invalid-request': [400, 'The request is malformed'],
  'invalid-key': [400, 'The key is not valid'],
  'invalid-json': [400, 'The body is not valid JSON'],
  'invalid-cursor': [400, 'The cursor is not one that this listing gave'],
  'digest-mismatch': [400, 'The bytes do not match the digest that was sent with them'],
  'truncated-body': [400, 'The body ended before its announced length'],
  'receipt-refused': [400, 'The receipt does not prove this upload'],
  'not-authenticated': [401, 'A valid token is required'],
  'ticket-refused': [403, 'The ticket does not permit this'],
  'not-permitted': [403, 'The token does not permit this'],
  'domain-not-found': [404, 'There is no such domain'],
  'class-not-found': [404, 'There is no such class in this domain'],
  'file-not-found': [404, 'There is no such file'],
  'directory-not-found': [404, 'There is no such directory'],
  'not-found': [404, 'There is no such resource'],
  'request-timeout': [408, 'The request arrived too slowly'],
  'already-exists': [409, 'There is one of that name already'],
  'is-a-directory': [409, 'The key names a directory'],
  'not-a-directory': [409, 'A part of the path is a file'],
  'directory-not-empty': [409, 'The directory is not empty'],
  'move-into-itself': [409, 'A directory cannot be moved or copied into itself'],
  'blob-differs': [409, 'The device holds other bytes under this fid'],
  'state-conflict': [409, 'The present state does not allow this'],
  'other-environment': [409, 'The domain is written by another environment'],
  'upload-void': [409, 'The upload was given up and its fid burned; upload again'],
  'precondition-failed': [412, 'A precondition of the request does not hold'],
  'body-too-large': [413, 'The body is larger than allowed'],
  'unsupported-media-type': [415, 'The body has a media type that is not accepted here'],
  'range-not-satisfiable': [416, 'None of the requested ranges overlaps the file'],
  'headers-too-large': [431, 'The request line and its headers are larger than allowed'],
  internal: [500, 'Something went wrong inside Cistern'],
  'replica-missing': [404, 'The device does not hold this blob'],
  'replica-corrupt': [500, 'The replica does not match its digest'],
  'no-good-replica': [503, 'No good copy of the file can be reached'],
  'device-unavailable': [503, 'The device is not in service'],
  'database-unavailable': [503, 'The database cannot be reached'],
  'domain-busy': [503, 'The domain is being rewound'],
  'too-few-devices': [503, 'Too few devices are available to store the file safely'],
  'shutting-down': [503, 'The service is shutting down'],
  'insufficient-storage': [507, 'There is not enough free space'],
} as const satisfies Record<string, readonly [number, string]>;

export type ProblemName = keyof typeof table;

const prefix = 'urn:cistern:problem:';

export interface ProblemJson {
  type: string;
  title: string;
  status: number;
  detail?: string;
  [member: string]: unknown;
}

/** An error that is answered as problem+json. `detail` says what is wrong, where, and what to do. */
export class Problem extends Error {
  override name = 'Problem';
  readonly problem: ProblemName;
  readonly status: number;
  readonly members: Record<string, unknown>;
  readonly headers: Record<string, string>;

  constructor(
    problem: ProblemName,
    detail?: string,
    more: { members?: Record<string, unknown>; headers?: Record<string, string>; cause?: unknown } = {},
  ) {
    super(detail ?? table[problem][1], { cause: more.cause });
    this.problem = problem;
    this.status = table[problem][0];
    this.members = more.members ?? {};
    this.headers = { ...(this.status === 503 ? { 'retry-after': '2' } : {}), ...more.headers };
  }

  toJSON(): ProblemJson {
    const title = table[this.problem][1];
    const detail = this.message === title ? {} : { detail: this.message };
    return { type: prefix + this.problem, title, status: this.status, ...detail, ...this.members };
  }
}

/** The problem that another part answered with, or undefined if `body` is not one of ours. */
export function problemFrom(body: unknown): Problem | undefined {
  if (typeof body !== 'object' || body === null) return undefined;
  const { type, title: _title, status: _status, detail, ...members } = body as Partial<ProblemJson>;
  const name = typeof type === 'string' && type.startsWith(prefix) ? type.slice(prefix.length) : '';
  if (!(name in table)) return undefined;
  return new Problem(name as ProblemName, typeof detail === 'string' ? detail : undefined, { members });
}

/** All problems, for the documentation's test and the OpenAPI document. */
export function allProblems(): { name: ProblemName; status: number; title: string }[] {
  return Object.entries(table).map(([name, [status, title]]) => ({
    name: name as ProblemName,
    status,
    title,
  }));
}
