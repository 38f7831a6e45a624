// Schemas that several resources share: entries, cursors, what a write may be conditional on.
import { Type } from 'typebox';

export const strict = { additionalProperties: false };

export const DomainPath = Type.Object({ domain: Type.String() }, strict);
export const KeyPath = Type.Object(
  { domain: Type.String(), '*': Type.String({ description: 'each segment percent-encoded' }) },
  strict,
);

export const Meta = Type.Object(
  {},
  { additionalProperties: true, description: "the client's own small JSON object" },
);
const Time = Type.String({ format: 'date-time' });

export const FileEntry = Type.Object(
  {
    kind: Type.Literal('file'),
    key: Type.String(),
    size: Type.Integer({ description: 'bytes' }),
    etag: Type.String(),
    sha256: Type.String(),
    contentType: Type.String(),
    mtime: Time,
    class: Type.String(),
    meta: Meta,
    fid: Type.Integer(),
  },
  strict,
);
export const DirectoryEntry = Type.Object(
  { kind: Type.Literal('directory'), key: Type.String(), mtime: Time },
  strict,
);
export const Entry = Type.Union([FileEntry, DirectoryEntry]);

export const PageQuery = {
  limit: Type.Integer({ minimum: 1, maximum: 1000, default: 1000 }),
  cursor: Type.Optional(Type.String({ maxLength: 8192, description: 'the `next` of the page before' })),
};

// Headers of writes. They are parsed by hand (namespace/preconditions.ts, idempotency.ts); here they are documented, and
// a precondition that a route's schema does not name is refused (conditions.ts).
const ifNoneMatch = {
  'if-none-match': Type.Optional(Type.String({ description: "'*': only if the key is free" })),
};
const ifMatch = {
  'if-match': Type.Optional(
    Type.String({ description: "entity tags, or '*': only if the key holds that version" }),
  ),
};
const idempotencyKey = {
  'idempotency-key': Type.Optional(
    Type.String({
      minLength: 1,
      maxLength: 128,
      description: 'a repeat within 24 hours gets the first answer',
    }),
  ),
};
const open = { additionalProperties: true };

export const WriteHeaders = Type.Object({ ...ifNoneMatch, ...ifMatch, ...idempotencyKey }, open);
/** Of a write whose repeat gives the same result, or is known by other means. */
export const ConditionHeaders = Type.Object({ ...ifNoneMatch, ...ifMatch }, open);
/** Of a write that only makes something. */
export const CreateHeaders = Type.Object({ ...ifNoneMatch, ...idempotencyKey }, open);
/** Of a write that is about more than one file. */
export const IdempotentHeaders = Type.Object({ ...idempotencyKey }, open);

const ofFiles = {
  'cistern-class': Type.Optional(
    Type.String({ description: "the class, instead of the one that the key's prefix chooses" }),
  ),
  'cistern-mtime': Type.Optional(
    Type.String({ description: 'modification time (ISO 8601 with a zone), instead of now' }),
  ),
  'cistern-meta': Type.Optional(Type.String({ description: 'JSON object of up to 2,048 bytes' })),
};
/** Headers of a write that brings a file; parsed in file-fields.ts and services/digests.ts. */
export const FileHeaders = Type.Object(
  {
    ...WriteHeaders.properties,
    'content-type': Type.Optional(
      Type.String({ description: "kept; without one it is derived from the key's extension" }),
    ),
    'content-digest': Type.Optional(Type.String({ description: 'RFC 9530; sha-256 is checked' })),
    'repr-digest': Type.Optional(Type.String({ description: 'RFC 9530; sha-256 is checked' })),
    'cistern-version': Type.Optional(
      Type.String({
        description: "'past': into the trash, as a former version of the key, which stays as it is",
      }),
    ),
    ...ofFiles,
  },
  open,
);
/** Of a form: what they say is said of each of its files. */
export const FormHeaders = Type.Object({ ...CreateHeaders.properties, ...ofFiles }, open);
