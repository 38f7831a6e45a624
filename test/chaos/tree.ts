// What the namespace must look like: files and directories below one directory, and what each operation makes of them.
// It is written from docs/http-api.md alone, so that it can disagree with the tracker.

/** Path -> SHA-256 of the file, or null for a directory. Parents are always there. */
export type Tree = ReadonlyMap<string, string | null>;

export type Operation =
  | { op: 'put'; path: string; sha256: string; exclusive: boolean }
  | { op: 'delete'; path: string }
  | { op: 'mkdir'; path: string }
  | { op: 'rmdir'; path: string; recursive: boolean }
  | { op: 'move' | 'copy'; from: string; to: string };

export interface Expected {
  status: number;
  /** How it looks afterwards; absent if the operation is refused. */
  tree?: Tree;
  /** How it may look as well, if the answer was lost. */
  partly?: Tree;
}

/** What must come of an operation on `tree`. Only a refusal's status is foretold, not its reason. */
export function expect(tree: Tree, operation: Operation): Expected {
  switch (operation.op) {
    case 'put':
      return put(tree, operation);
    case 'delete':
      return remove(tree, operation.path);
    case 'mkdir':
      return makeDirectory(tree, operation.path);
    case 'rmdir':
      return removeDirectory(tree, operation);
    default:
      return relocate(tree, operation);
  }
}

const isFile = (tree: Tree, path: string) => typeof tree.get(path) === 'string';
const isDirectory = (tree: Tree, path: string) => tree.get(path) === null;
const below = (tree: Tree, path: string) => [...tree].filter(([key]) => key.startsWith(`${path}/`));

function parents(path: string): string[] {
  return [...path.matchAll(/\//g)].map(({ index }) => path.slice(0, index));
}

function withParents(tree: Tree, path: string): Map<string, string | null> {
  const made = new Map(tree);
  for (const parent of parents(path)) if (!made.has(parent)) made.set(parent, null);
  return made;
}

const isBelowFile = (tree: Tree, path: string) => parents(path).some((parent) => isFile(tree, parent));

function put(tree: Tree, { path, sha256, exclusive }: Operation & { op: 'put' }): Expected {
  if (isBelowFile(tree, path) || isDirectory(tree, path)) return { status: 409 };
  if (exclusive && tree.has(path)) return { status: 412 };
  // A tracker that dies between making the parents and naming the file leaves the parents.
  const partly = withParents(tree, path);
  return {
    status: tree.has(path) ? 200 : 201,
    tree: new Map(partly).set(path, sha256),
    partly,
  };
}

function remove(tree: Tree, path: string): Expected {
  if (isDirectory(tree, path)) return { status: 409 };
  if (!tree.has(path)) return { status: 404 };
  const left = new Map(tree);
  left.delete(path);
  return { status: 204, tree: left };
}

function makeDirectory(tree: Tree, path: string): Expected {
  if (isBelowFile(tree, path) || isFile(tree, path)) return { status: 409 };
  if (tree.has(path)) return { status: 200, tree };
  return { status: 201, tree: withParents(tree, path).set(path, null) };
}

function removeDirectory(tree: Tree, { path, recursive }: Operation & { op: 'rmdir' }): Expected {
  if (isFile(tree, path)) return { status: 409 };
  if (!tree.has(path)) return { status: 404 };
  const inside = below(tree, path);
  if (inside.length > 0 && !recursive) return { status: 409 };
  const left = new Map(tree);
  for (const [key] of [[path], ...inside]) left.delete(key as string);
  return { status: 204, tree: left };
}

function relocate(tree: Tree, { op, from, to }: Operation & { op: 'move' | 'copy' }): Expected {
  const source = tree.get(from);
  if (source === undefined) return { status: 404 };
  if (source === null && (to === from || to.startsWith(`${from}/`))) return { status: 409 };
  if (isBelowFile(tree, to) || isDirectory(tree, to)) return { status: 409 };
  if (source === null && tree.has(to)) return { status: 409 };
  const next = withParents(tree, to);
  for (const [key, value] of [[from, source] as const, ...below(tree, from)]) {
    if (op === 'move') next.delete(key);
    next.set(to + key.slice(from.length), value);
  }
  return { status: tree.has(to) ? 200 : 201, tree: next };
}

/** The first few differences, in words; undefined if the two are equal. */
export function difference(wanted: Tree, found: Tree): string | undefined {
  const keys = [...new Set([...wanted.keys(), ...found.keys()])].sort();
  const say = (value: string | null | undefined) =>
    value === undefined ? 'nothing' : value === null ? 'a directory' : `file ${value.slice(0, 8)}`;
  const lines = keys
    .filter((key) => wanted.get(key) !== found.get(key))
    .map((key) => `'${key}' is ${say(found.get(key))}, not ${say(wanted.get(key))}`);
  return lines.length === 0 ? undefined : lines.slice(0, 5).join('; ');
}
