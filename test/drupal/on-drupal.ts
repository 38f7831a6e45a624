// Tests on real Drupal are declared where there is one; else one test says why not.
import { it } from 'vitest';
import { needs, skip } from '../support/needs.ts';
import { type CodeBase, findCodeBase } from './code-base.ts';

/**
 * Declares tests that need a code base, in CI too only where one can be had: a mirror of Packagist may lack Drupal.
 * @param lack what else is lacking, in words; undefined: nothing
 */
export async function onDrupal(lack: string | undefined, declare: (code: CodeBase) => void): Promise<void> {
  const code = await findCodeBase();
  if (typeof code !== 'string' && lack === undefined) declare(code);
  else {
    it('needs a Drupal code base', (context) => {
      if (typeof code === 'string') skip(context, code);
      needs(context, lack);
    });
  }
}
