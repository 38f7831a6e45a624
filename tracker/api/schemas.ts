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

/** Headers of a write. They are parsed by hand (namespace/preconditions.ts); here they are only documented. */
export const WriteHeaders = Type.Object(
  {
    'if-none-match': Type.Optional(Type.String({ description: "'*': only if the key is free" })),
    'if-match': Type.Optional(
      Type.String({ description: "entity tags, or '*': only if the key holds that version" }),
    ),
    'idempotency-key': Type.Optional(
      Type.String({
        minLength: 1,
        maxLength: 128,
        description: 'a repeat within 24 hours gets the first answer',
      }),
    ),
  },
  { additionalProperties: true },
);
