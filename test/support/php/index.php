<?php

/**
 * A small web site on the PHP library, for test/php-web-heads.test.ts: it uploads, sends, deletes and looks up.
 * config.json in the document root says where the library, the trackers and the proxies before them are.
 */

declare(strict_types=1);

use Cistern\Client;
use Cistern\ClientOptions;
use Cistern\Exception\NotFound;
use Cistern\Exception\Unavailable;
use Cistern\PutOptions;
use Cistern\StreamWrapper;

$config = json_decode((string) file_get_contents(__DIR__ . '/config.json'), true);
spl_autoload_register(static function (string $class) use ($config): void {
    require $config['library'] . '/src/' . str_replace(['Cistern\\', '\\'], ['', '/'], $class) . '.php';
});
$logged = [];
$client = new Client(new ClientOptions(
    trackers: $config[isset($_GET['proxied']) ? 'proxies' : 'trackers'],
    domain: $config['domain'],
    token: $config['token'],
    timeout: (float) ($_GET['timeout'] ?? 10),
    deadline: (float) ($_GET['deadline'] ?? 30),
    log: static function (string $level, string $message) use (&$logged): void {
        $logged[] = $message;
    },
));
StreamWrapper::register('cistern', $client);
$key = $_GET['key'] ?? '';
try {
    echo match (strtok($_SERVER['REQUEST_URI'], '?')) {
        '/upload' => $client->putFile($key, $_FILES['file']['tmp_name'], new PutOptions(ifNoneMatch: true))->sha256,
        '/move-upload' => var_export(move_uploaded_file($_FILES['file']['tmp_name'], "cistern://$key"), true),
        '/send' => @readfile("cistern://$key") === false ? throw new NotFound('There is no such file.') : '',
        '/delete' => $client->delete($key) ?? 'deleted',
        '/look-ups' => json_encode(lookUps($client, (int) $_GET['count'])),
        '/apcu' => var_export(function_exists('apcu_enabled') && apcu_enabled(), true),
        default => 'a page',
    };
} catch (NotFound $e) {
    http_response_code(404);
    echo $e->getMessage();
} catch (Unavailable $e) {
    http_response_code(503);
    echo $e->getMessage();
}

/**
 * Looks many keys up, one after the other, however many of them fail.
 *
 * @return array{found: int, absent: int, failed: int, seconds: float}
 */
function lookUps(Client $client, int $count): array
{
    $seen = ['found' => 0, 'absent' => 0, 'failed' => 0];
    $started = microtime(true);
    for ($i = 0; $i < $count; ++$i) {
        try {
            ++$seen[$client->stat("nothing/$i") === null ? 'absent' : 'found'];
        } catch (Unavailable) {
            ++$seen['failed'];
        }
    }

    return $seen + ['seconds' => microtime(true) - $started];
}
