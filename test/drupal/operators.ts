// What operators rely on: the status report, what web heads tell of each other, the line in settings.php that says
// what is wrong, the configuration of nginx, and real paths for programs that want one.
import { existsSync, readFileSync } from 'node:fs';
import { beforeAll, describe, expect, it } from 'vitest';
import { webConfiguration } from '../support/web-configuration.ts';
import type { Head } from './head.ts';
import type { Rig } from './rig.ts';
import { Visitor } from './visitor.ts';

export function operators(rig: () => Rig): void {
  describe('for operators', () => {
    const checks = async (head: Head): Promise<Record<string, string>> =>
      JSON.parse(
        await head.run(`$found = [];
          foreach (\\Drupal::service('cistern.checks')->run() as $check) $found[$check->id] = "$check->state $check->found";
          echo json_encode($found);`),
      );

    beforeAll(async () => {
      // These heads keep their code at different places, and so a container each.
      await rig().heads[0].run(
        "\\Drupal::service('module_installer')->install(['cistern', 'help']); drupal_flush_all_caches();",
      );
    });

    it('looks at everything, and says of all heads that they are alike', async () => {
      for (const head of rig().heads) {
        const found = await checks(head);
        expect(Object.keys(found)).toEqual(
          expect.arrayContaining([
            'schemes',
            'trackers',
            'clock',
            'probe',
            'allow_url_fopen',
            'local',
            'spool',
            'heads',
          ]),
        );
        expect(Object.values(found).filter((text) => !text.startsWith('ok '))).toEqual([]);
      }
      expect((await checks(rig().heads[0])).heads).toContain('2, all alike');
    });

    it('shows it in the status report, and helps', async () => {
      const visitor = new Visitor(rig().heads[0].url('nginx'));
      await visitor.logIn('admin');
      const report = await (await visitor.get('/admin/reports/status')).text();
      for (const text of ['Cistern: trackers', '2 of 2 ready', 'Cistern: write, read, delete', 'all alike']) {
        expect(report).toContain(text);
      }
      expect(await (await visitor.get('/admin/help/cistern')).text()).toContain('TakeOver::apply');
      expect(await visitor.status('/admin/config/media/cistern')).toBe(200);
    });

    it.each([
      ['keeps its files to itself', ''],
      ['has another prefix', ", prefix: 'other'"],
      ['has another salt', 'salt'],
    ])('finds a head that %s', async (_what, change) => {
      const [a, b] = rig().heads;
      const line = rig().takeOverLine();
      if (change === '') b.configure('');
      else if (change === 'salt') b.configure(`$settings['hash_salt'] = 'another';${line}`);
      else b.configure(line.replace(/\);$/, `${change});`));
      try {
        await b.run("\\Drupal::service('cistern.heads')->tell();");
        expect((await checks(a)).heads).toMatch(/^error .*differ/);
        expect((await checks(b)).heads).toMatch(/^error .*differ/);
      } finally {
        b.configure(line);
        await b.run("\\Drupal::service('cistern.heads')->tell();");
      }
      expect((await checks(a)).heads).toMatch(/^ok /);
    });

    it.each([
      ["['http://127.0.0.1:1'], domain: 'demo'", "lacks 'token'"],
      ["['127.0.0.1:1'], domain: 'demo', token: 't'", 'not of the form http://host:port'],
      [
        "['http://127.0.0.1:1'], domain: 'demo', token: 't', max_aeg: 3",
        "does not know the setting 'max_aeg'",
      ],
      ["['http://127.0.0.1:1'], domain: 'demo', token: 't', timeout: 'long'", 'value of the wrong type'],
      ["['http://127.0.0.1:1'], domain: 'demo', token: 't', local_directory: '/proc/none'", 'cannot be made'],
    ])('refuses settings that cannot work: %s', async (settings, reason) => {
      const code = `require 'autoload.php'; $settings = [];
        try { \\Cistern\\Drupal\\TakeOver::apply($settings, getcwd(), 'sites/default', trackers: ${settings}); echo 'accepted'; }
        catch (Exception $e) { echo $e->getMessage(); }`;
      expect(await rig().heads[0].php(['-r', code])).toContain(reason);
    });

    it('takes the line of the documentation as it stands', async () => {
      const page = readFileSync(new URL('../../docs/drupal.md', import.meta.url), 'utf8');
      const line = /^ *(\\Cistern\\Drupal\\TakeOver::apply.*)$/m.exec(page)?.[1] ?? '';
      const { cluster, heads } = rig();
      const [b] = heads.slice(1) as [Head];
      const real = line
        .replace(/\[.*\]/, `[${cluster.trackers.map(({ url }) => `'${url}'`).join(', ')}]`)
        .replace("'www'", `'${cluster.domain}'`)
        .replace("getenv('CISTERN_TOKEN')", `'${cluster.token}'`);
      expect(real).not.toBe(line);
      b.configure(real);
      try {
        expect((await checks(b)).heads).toMatch(/^ok /);
        // Every setting of its table is known, with these defaults.
        const settings = [...page.matchAll(/^\| `([a-z_]+)` \| (?:`([^`]+)`)?/gm)];
        expect(settings.length).toBe(25);
        const values = settings.flatMap(([, name, value]) =>
          value === undefined || value.startsWith('CISTERN') || value === '.cistern'
            ? []
            : [`${name}: ${value}`],
        );
        b.configure(real.replace(/\);$/, `, ${values.join(', ')});`));
        expect((await checks(b)).heads).toMatch(/^ok /);
      } finally {
        b.configure(rig().takeOverLine());
      }
    });

    it('lets a site only read that names another environment than the one that writes', async () => {
      const [, b] = rig().heads;
      const save = `try { echo \\Drupal::service('file_system')->saveData('x', 'public://environment.csv', \\Drupal\\Core\\File\\FileExists::Replace); }
        catch (Exception $e) { echo $e->getMessage(); }`;
      const as = (environment: string) =>
        b.configure(rig().takeOverLine().replace(/\);$/, `, environment: '${environment}');`));
      try {
        as('prod');
        expect(await b.run(save)).toBe('public://environment.csv');
        as('stage');
        expect(await b.run(save)).toContain("written by the environment 'prod'");
        expect(await b.run("echo file_get_contents('public://environment.csv');")).toBe('x');
      } finally {
        b.configure(rig().takeOverLine());
      }
    });

    it('goes on without the module, and after it was uninstalled', async () => {
      const [head] = rig().heads;
      const scheme = 'echo get_class(\\Drupal::service("stream_wrapper_manager")->getViaScheme("public"));';
      await head.run("\\Drupal::service('module_installer')->uninstall(['cistern']);");
      expect(await head.run(scheme)).toBe('Cistern\\Drupal\\PublicStream');
      await head.run("\\Drupal::service('module_installer')->install(['cistern']);");
      expect(await head.run(scheme)).toBe('Cistern\\Drupal\\PublicStream');
    });

    it("prints nginx's configuration with the site's values", async () => {
      const { cluster, heads } = rig();
      const printed = await heads[0].run(
        "echo \\Drupal::service('cistern.nginx')->render('', 'public-token', 'private-token');",
      );
      const words = {
        CISTERN_TRACKER: cluster.trackers.map(({ url }) => new URL(url).host),
        CISTERN_TOKEN: 'public-token',
        CISTERN_PRIVATE_TOKEN: 'private-token',
        CISTERN_CACHE: '/var/cache/cistern-nginx',
        CISTERN_MAX_AGE: '300',
        CISTERN_DOMAIN: cluster.domain,
        CISTERN_PREFIX: 'public',
        FILES_PATH: '/sites/default/files',
        FRONT_CONTROLLER: '/index.php',
      };
      const parts = ['nginx/cistern-http.conf', 'nginx/cistern-server.conf'];
      expect(directives(printed)).toEqual(parts.flatMap((part) => directives(webConfiguration(part, words))));
    });

    it('gives programs a real path, once for each version of a file, and cleans up', async () => {
      const printed = await rig().heads[0].run(`
        $files = \\Drupal::service('file_system');
        $uri = $files->saveData('first', 'public://local copy.zip', \\Drupal\\Core\\File\\FileExists::Replace);
        $copies = \\Drupal::service('cistern.local_copy');
        $path = $copies->localCopy($uri);
        $again = $copies->localCopy($uri);
        $text = file_get_contents($path);
        $zip = new ZipArchive();
        $opened = $zip->open($copies->localCopy($files->saveData(base64_decode('UEsFBgAAAAAAAAAAAAAAAAAAAAAAAA=='), 'public://empty.zip')));
        $files->saveData('second', $uri, \\Drupal\\Core\\File\\FileExists::Replace);
        $second = file_get_contents($copies->localCopy($uri));
        echo json_encode([$path, $again === $path, $text, $second, $opened]);`);
      const [path, same, first, second, opened] = JSON.parse(printed);
      expect([same, first, second, opened]).toEqual([true, 'first', 'second', true]);
      expect(path).toMatch(/\/local copy\.zip$/);
      expect(existsSync(path)).toBe(false);
    });

    it('lets racing writers have a name each', async () => {
      const save = (head: Head, text: string) =>
        head.run(`$files = \\Drupal::service('file_system');
          for ($i = 0; $i < 10; $i++) echo $files->saveData('${text}', 'public://race.txt'), ' ';`);
      const [a, b] = rig().heads;
      const printed = await Promise.all([save(a, 'a'), save(b, 'b'), save(a, 'c'), save(b, 'd')]);
      const names = printed.flatMap((text) => text.trim().split(' '));
      expect(new Set(names).size).toBe(40);
    });
  });
}

const directives = (text: string) =>
  text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'));
