<?php

declare(strict_types=1);

namespace Cistern\Tests\League;

use Cistern\Client;
use Cistern\ClientOptions;
use Cistern\Flysystem\CisternAdapter;
use League\Flysystem\AdapterTestUtilities\FilesystemAdapterTestCase;
use League\Flysystem\Config;
use League\Flysystem\FilesystemAdapter;

/**
 * League's own test of adapters, where the package league/flysystem-adapter-test-utilities can be installed.
 */
final class LeagueTest extends FilesystemAdapterTestCase
{
    protected static function createFilesystemAdapter(): FilesystemAdapter
    {
        $trackers = explode(',', (string) getenv('CISTERN_TRACKER_URLS'));
        $domain = (string) getenv('CISTERN_DOMAIN');
        $options = new ClientOptions($trackers, $domain, (string) getenv('CISTERN_TOKEN'), 'league/' . getmypid());

        return new CisternAdapter(new Client($options));
    }

    /**
     * A tracker gives every file a type.
     */
    public function fetching_unknown_mime_type_of_a_file(): void
    {
        $this->adapter()->write('unknown', '', new Config());
        self::assertSame('application/octet-stream', $this->adapter()->mimeType('unknown')->mimeType());
    }

    /**
     * There is no public URL in this test that could be fetched.
     */
    public function generating_a_public_url(): void
    {
        self::markTestSkipped('The web server in front decides what is public.');
    }
}
