// `cistern mv`: renames files and directories.
import type { Command } from 'commander';
import { registerRelocation } from '../lib/relocate.ts';

export function register(program: Command): void {
  registerRelocation(program, 'mv', 'move', 'rename or move files and directories');
}
