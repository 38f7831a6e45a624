<?php

declare(strict_types=1);

namespace Cistern\Tests\Moving;

use Cistern\Exception\Unavailable;
use Cistern\Moving\LocalFile;
use Cistern\Moving\LocalTree;
use PHPUnit\Framework\TestCase;

/**
 * Which files of a site's directory may be published.
 */
final class NeverPublishedTest extends TestCase
{
    use TemporaryDirectory;

    public function testLeavesOutWhatOnlyHtaccessGuardsAndSaysWhy(): void
    {
        $kept = ['a.jpg', 'deep/er/css/b.css', 'deep/private/c.txt', 'deep/database.txt', 'languages/de.js', 'open/d.txt'];
        $out = [
            '.htaccess', '.hidden/a', 'css/x.css', 'js/x.js', 'php/twig/x.php', 'private/x.pdf', 'translations/de.po',
            'config_Ab1-x/sync/site.yml', 'own/sync/site.yml', 'closed/x.pdf', 'closed/below/y.pdf', 'site.sqlite',
            'backup.sql.gz', 'deep/hid.db-wal', 'deep/no-name', 'closed22/x', "bad\xff.txt",
        ];
        foreach ([...$kept, ...$out] as $path) {
            $this->write($path, 'x');
        }
        // As Drupal writes it, in the form of Apache 2.4 and that of 2.2.
        $this->write('closed/.htaccess', "<IfModule mod_authz_core.c>\n  Require all denied\n</IfModule>\n");
        $this->write('closed22/.htaccess', "order allow,deny\nDeny from all\n");
        $this->write('open/.htaccess', "<FilesMatch \"\\.php$\">\n  Require all denied\n</FilesMatch>\n# Deny from all\n");
        $this->write('deep/no-name', "SQLite format 3\0 and more");
        symlink('/etc', "$this->directory/link");

        $reasons = [];
        $tree = new LocalTree($this->directory, true, ["$this->directory/own/sync" => 'configuration']);
        $files = [];
        foreach (
            $tree->files(function (string $path, string $why) use (&$reasons): void {
                $reasons[$path] = $why;
            }) as $file
        ) {
            $files[] = $file;
        }
        $paths = array_map(static fn (LocalFile $file): string => $file->path, $files);
        sort($paths);
        sort($kept);
        // What bytes tell is seen when they are read.
        self::assertSame($kept, array_values(array_diff($paths, ['deep/no-name'])));
        foreach ($kept as $path) {
            self::assertNotNull($tree->find($path), $path);
        }
        foreach ([...$out, 'link/passwd', 'link', 'none'] as $path) {
            self::assertNull($tree->find($path), $path);
        }
        self::assertStringContainsString('SQLite', (string) $tree->why(new LocalFile('deep/no-name', "$this->directory/deep/no-name", false, 1, 1, 0)));
        foreach (
            [
                'css' => 'aggregated', 'php' => 'code', 'private' => 'private', 'config_Ab1-x' => 'configuration',
                'own/sync' => 'configuration', 'closed' => '.htaccess', 'closed22' => '.htaccess', '.hidden' => 'dot',
                'site.sqlite' => 'database', 'backup.sql.gz' => 'database', 'link' => 'link', "bad\xff.txt" => 'UTF-8',
            ] as $path => $why
        ) {
            self::assertStringContainsString($why, $reasons[$path] ?? 'nothing', $path);
        }
    }

    public function testLeavesOutADirectoryThatIsClosedAsAWhole(): void
    {
        $this->write('.htaccess', "Require all denied\n");
        $this->write('a.pdf', 'x');
        self::assertNull((new LocalTree($this->directory, true))->find('a.pdf'));
        self::assertSame([], iterator_to_array((new LocalTree($this->directory, true))->files()));
        // Drupal closes the directory of private files so.
        self::assertNotNull((new LocalTree($this->directory, false))->find('a.pdf'));
    }

    public function testDoesNotTakeADirectoryThatIsAwayForAnEmptyOne(): void
    {
        $this->expectException(Unavailable::class);
        (new LocalTree("$this->directory/none", true))->find('a.jpg');
    }
}
