// How people serve Drupal by nginx: the usual recipe, without a word about Cistern. Apache's is in the `.htaccess` that
// Drupal brings.

/** For `server {}` of nginx, in the form that Drupal's and nginx's own documentation give it. */
export const NGINX = `
  location = /favicon.ico { log_not_found off; access_log off; }
  location = /robots.txt { allow all; log_not_found off; access_log off; }
  location ~* \\.(txt|log)$ { deny all; }
  location ~ \\..*/.*\\.php$ { return 403; }
  location ~ ^/sites/.*/private/ { return 403; }
  location ~ ^/sites/[^/]+/files/.*\\.php$ { deny all; }
  location ~ (^|/)\\. { return 403; }
  location / { try_files $uri /index.php?$query_string; }
  location @rewrite { rewrite ^ /index.php; }
  location ~ /vendor/.*\\.php$ { deny all; return 404; }
  location ~ '\\.php$|^/update.php' {
    fastcgi_split_path_info ^(.+?\\.php)(|/.*)$;
    try_files $fastcgi_script_name =404;
    include /etc/nginx/fastcgi_params;
    fastcgi_param HTTP_PROXY "";
    # Debian leaves the port out, which only a test site has.
    fastcgi_param HTTP_HOST $host:$server_port;
    fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name;
    fastcgi_param PATH_INFO $fastcgi_path_info;
    fastcgi_param QUERY_STRING $query_string;
    fastcgi_intercept_errors on;
    fastcgi_read_timeout 300s;
    fastcgi_pass PHP_SOCKET;
  }
  location ~* \\.(js|css|png|jpg|jpeg|gif|ico|svg)$ {
    try_files $uri @rewrite;
    expires max;
    log_not_found off;
  }
  location ~ ^/sites/.*/files/styles/ { try_files $uri @rewrite; }
  location ~ ^(/[a-z\\-]+)?/system/files/ { try_files $uri /index.php?$query_string; }
`;
