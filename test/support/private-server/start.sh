#!/bin/bash
# Serves on loopback: git over ssh at $SSH_PORT; git, packages and indexes over https at $HTTPS_PORT; what is public
# over http at $HTTP_PORT too. A new key for the user of git, and a new certificate, with every start.
set -euo pipefail
umask 077

ssh-keygen -q -t ed25519 -N '' -C test -f /srv/client-key
install -o git -m 0644 /srv/client-key.pub /srv/git/authorized_keys
mkdir -p /run/sshd
/usr/sbin/sshd -D -e -p "$SSH_PORT" -o ListenAddress=127.0.0.1 -o PasswordAuthentication=no \
  -o AuthorizedKeysFile=/srv/git/authorized_keys &
ln -sfn /srv/git/org /org

openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj '/CN=test' -addext 'subjectAltName=IP:127.0.0.1' \
  -keyout /srv/tls.key -out /srv/tls.crt 2> /dev/null
cat /srv/tls.key /srv/tls.crt > /srv/tls.pem
echo "x-access-token:$TOKEN" > /srv/members
chmod 0644 /srv/members
cat > /srv/lighttpd.conf << END
server.modules = ("mod_auth", "mod_authn_file", "mod_alias", "mod_setenv", "mod_cgi", "mod_openssl")
server.document-root = "/srv/www"
server.bind = "127.0.0.1"
server.port = $HTTP_PORT
server.username = "www-data"
dir-listing.activate = "enable"
mimetype.assign = (".whl" => "application/zip", "" => "application/octet-stream")
\$SERVER["socket"] == "127.0.0.1:$HTTPS_PORT" {
  ssl.engine = "enable"
  ssl.pemfile = "/srv/tls.pem"
}
auth.backend = "plain"
auth.backend.plain.userfile = "/srv/members"
auth.require = (
  "/org/" => ("method" => "basic", "realm" => "members", "require" => "valid-user"),
  "/members/" => ("method" => "basic", "realm" => "members", "require" => "valid-user"),
)
alias.url = ("/org" => "/usr/lib/git-core/git-http-backend")
\$HTTP["url"] =~ "^/org/" {
  cgi.assign = ("" => "")
  setenv.add-environment = ("GIT_PROJECT_ROOT" => "/srv/git/org", "GIT_HTTP_EXPORT_ALL" => "1")
}
END
exec lighttpd -D -f /srv/lighttpd.conf
