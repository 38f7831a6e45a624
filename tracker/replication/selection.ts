// Which files a repair is about: all, or those of a domain, of a class, below a key prefix, on a device.

export interface Selection {
  domainId?: number | undefined;
  /** A class's name, in whatever domain. */
  class?: string | undefined;
  /** What a key begins with. */
  prefix?: string | undefined;
  /** A replica is, or should be, on this device. */
  device?: number | undefined;
}

/** The values of the four parameters of `selected`, in their order. */
export function valuesOf({ domainId, class: className, prefix, device }: Selection): unknown[] {
  return [domainId ?? null, className ?? null, prefix ?? null, device ?? null];
}

/** True if all files are meant. */
export function isAll(selection: Selection): boolean {
  return valuesOf(selection).every((value) => value === null);
}

/**
 * SQL: true if one of the blob's names, or its key in the trash, is selected. `first` is the number of the first of four
 * parameters. OFFSET 0 keeps each EXISTS a look-up for one blob: without it, all of a domain's names may be hashed first.
 */
export function selected(fid: string, first: number): string {
  const [domain, className, prefix, device] = [0, 1, 2, 3].map((i) => `$${first + i}`);
  const named = (table: string, dir: string, domainId: string, key: string) => `EXISTS (
      SELECT FROM ${table} t ${dir} WHERE t.fid = ${fid} AND (${domain}::int IS NULL OR ${domainId} = ${domain})
        AND (${className}::text IS NULL OR (SELECT c.name FROM classes c WHERE c.id = t.class_id) = ${className})
        AND (${prefix}::text IS NULL OR starts_with(${key}, ${prefix})) OFFSET 0)`;
  return `((${domain}::int IS NULL AND ${className}::text IS NULL AND ${prefix}::text IS NULL
      OR ${named('names', 'JOIN dirs d ON d.id = t.dir_id', 'd.domain_id', 'd.path || t.name')}
      OR ${named('trash', '', 't.domain_id', 't.key')})
    AND (${device}::int IS NULL OR EXISTS (
      SELECT FROM locations l WHERE l.fid = ${fid} AND l.device_id = ${device} AND l.state <> 'removing' OFFSET 0)))`;
}
