// Dumps of a MogileFS's database as mysqldump and pg_dump write them, and its devices as directories; written from the
// schema and the formats as they are documented.
import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type FakeMogile, pathOfBlob } from './mogilefs.ts';

type Value = string | number | null | Buffer;
interface Table {
  columns: string;
  rows: Value[][];
}

function tablesOf(mogile: FakeMogile): Record<string, Table> {
  const domains = Object.entries(mogile.domains).map(([name, classes], i) => ({
    dmid: i + 1,
    name,
    classes: Object.entries(classes).filter(([own]) => own !== 'default'),
  }));
  const classId = (domain: string, name: string) =>
    1 + (domains.find((one) => one.name === domain)?.classes.findIndex(([own]) => own === name) ?? -1);
  const files = [...mogile.files];
  return {
    checksum: {
      columns: 'fid hashtype checksum',
      rows: files.map(([fid, { bytes }]) => [fid, 1, createHash('md5').update(bytes).digest()]),
    },
    class: {
      columns: 'dmid classid classname mindevcount replpolicy hashtype',
      rows: domains.flatMap(({ dmid, name, classes }) =>
        classes.map(([own, count]) => [dmid, classId(name, own), own, count, null, 1]),
      ),
    },
    device: {
      columns: 'devid hostid status weight mb_total',
      rows: [
        [1, 1, 'alive', 100, 1000],
        [2, 1, 'readonly', 100, 1000],
        [3, 1, 'dead', 100, 1000],
      ],
    },
    domain: { columns: 'dmid namespace', rows: domains.map(({ dmid, name }) => [dmid, name]) },
    file: {
      columns: 'fid dmid dkey length classid devcount',
      rows: files.map(([fid, file]) => [
        fid,
        1 + domains.findIndex(({ name }) => name === file.domain),
        file.key,
        file.bytes.length,
        classId(file.domain, file.class),
        2,
      ]),
    },
    file_on: {
      columns: 'fid devid',
      rows: files.flatMap(([fid]) => [3, 1, 2].map((device) => [fid, device])),
    },
    host: {
      columns: 'hostid status http_port http_get_port hostname hostip',
      rows: [[1, 'alive', mogile.httpPort, null, 'mogile1', '127.0.0.1']],
    },
    // Its strings must not be taken for statements.
    server_settings: {
      columns: 'field value',
      rows: [['note', "INSERT INTO `file` VALUES (1,1,'x',1,0,1);"]],
    },
  };
}

/** With one long INSERT a table, and binary columns as they are. */
export function mysqlDump(mogile: FakeMogile): Buffer {
  const escapes: Record<string, string> = { '\0': '\\0', '\n': '\\n', '\r': '\\r', '\x1a': '\\Z' };
  const escaped = (text: string) =>
    [...text].map((c) => escapes[c] ?? (`\\'"`.includes(c) ? `\\${c}` : c)).join('');
  const shown = (value: Value) => {
    if (value === null || typeof value === 'number') return value === null ? 'NULL' : String(value);
    if (typeof value !== 'string') return `_binary '${escaped(value.toString('latin1'))}'`;
    return `'${escaped(Buffer.from(value).toString('latin1'))}'`;
  };
  const lines = ['-- MySQL dump 10.13  Distrib 8.0.36, for Linux (x86_64)', '/*!50503 SET NAMES utf8mb4 */;'];
  for (const [name, { columns, rows }] of Object.entries(tablesOf(mogile))) {
    const types = columns.split(' ').map((column) => `  \`${column}\` varchar(255) DEFAULT NULL,`);
    lines.push(`CREATE TABLE \`${name}\` (`, ...types, `  PRIMARY KEY (\`a\`,\`b\`)`, ') ENGINE=InnoDB;');
    const all = rows.map((row) => `(${row.map(shown).join(',')})`);
    if (all.length > 0) lines.push(`INSERT INTO \`${name}\` VALUES ${all.join(',')};`);
  }
  return Buffer.from(`${lines.join('\n')}\n`, 'latin1');
}

/** With COPY, and binary columns in hex. */
export function postgresDump(mogile: FakeMogile): string {
  const shown = (value: Value) => {
    if (value === null || typeof value === 'number') return value === null ? '\\N' : String(value);
    if (typeof value !== 'string') return `\\\\x${value.toString('hex')}`;
    return value.replaceAll('\\', '\\\\').replaceAll('\n', '\\n').replaceAll('\t', '\\t');
  };
  const lines = ['-- PostgreSQL database dump', "SET client_encoding = 'UTF8';"];
  for (const [name, { columns, rows }] of Object.entries(tablesOf(mogile))) {
    lines.push(`COPY public.${name} (${columns.split(' ').join(', ')}) FROM stdin;`);
    lines.push(...rows.map((row) => row.map(shown).join('\t')), '\\.', '');
  }
  return lines.join('\n');
}

/** Writes what devices 1 and 2 hold below a directory, as they are mounted. */
export function mountDevices(mogile: FakeMogile, directory: string): void {
  for (const device of [1, 2]) {
    for (const [fid, { bytes }] of mogile.files) {
      const path = join(directory, pathOfBlob(device, fid));
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, mogile.spoiled.has(device) ? Buffer.alloc(bytes.length, '!') : bytes);
    }
  }
}
