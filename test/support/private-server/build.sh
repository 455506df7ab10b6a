#!/bin/bash
# Makes, in a container of Debian, what the private server serves: repositories, Python packages, Debian packages.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive GIT_CONFIG_NOSYSTEM=1

apt-get -o Acquire::Languages=none -q update
apt-get install -q -y --no-install-recommends \
  git python3 python3-pip openssh-client ca-certificates openssl openssh-server lighttpd lighttpd-mod-openssl
apt-get clean
rm -rf /var/lib/apt/lists/*

useradd --home-dir /srv/git --create-home --shell /usr/bin/git-shell --password '*' git

# Repositories: org/app with a submodule beside it, a branch, and a commit that no branch has.
export GIT_AUTHOR_NAME=Ann GIT_AUTHOR_EMAIL=ann@example.test GIT_COMMITTER_NAME=Ann GIT_COMMITTER_EMAIL=ann@example.test
git config --global protocol.file.allow always
git config --global init.defaultBranch main
publish() { git clone -q --bare "$1" "/srv/git/org/$1.git"; }
mkdir -p /srv/git/org /tmp/work
cd /tmp/work
git init -q lib
echo 42 > lib/answer.txt
printf 'from setuptools import setup\nsetup(name="lib", version="1.0")\n' > lib/setup.py
git -C lib add . && git -C lib commit -q -m 'First'
publish lib

git init -q app
git -C app remote add origin /srv/git/org/app.git
cat > app/setup.py << 'END'
from setuptools import setup
setup(name="app", version="1.0", py_modules=["app"], extras_require={"gpu": ["demo-gpu"], "all": ["demo-gpu", "demo-lib"]})
END
echo 'WHERE = "pinned"' > app/app.py
echo 'demo-lib>=1.5' > app/requirements.txt
git -C app submodule --quiet add /srv/git/org/lib.git vendor/lib
# As hosts have it: beside the repository, over whatever it was cloned over.
git -C app config --file .gitmodules submodule.vendor/lib.url ../lib.git
git -C app add . && git -C app commit -q -m 'First'
git -C app rev-parse HEAD > /srv/pinned-commit
echo 'WHERE = "main"' > app/app.py
git -C app commit -q -a -m 'Second'
git -C app checkout -q -b dev
echo 'WHERE = "dev"' > app/app.py
git -C app commit -q -a -m 'Third'
git -C app checkout -q main
publish app
chown -R git:git /srv/git
# lighttpd runs as another user.
git config --system --add safe.directory '*'

# Python packages, in a public index and in one for members.
python3 /build/wheels.py

# Debian packages, in a repository without subfolders.
mkdir -p /srv/www/apt /tmp/deb/DEBIAN /tmp/deb/usr/bin
printf 'Package: demo-tool\nVersion: 1.2\nArchitecture: all\nMaintainer: Ann <ann@example.test>\nDescription: prints its version\n' \
  > /tmp/deb/DEBIAN/control
printf '#!/bin/sh\necho demo-tool 1.2\n' > /tmp/deb/usr/bin/demo-tool
chmod +x /tmp/deb/usr/bin/demo-tool
dpkg-deb --build /tmp/deb /srv/www/apt/demo-tool.deb > /dev/null
{
  cat /tmp/deb/DEBIAN/control
  echo "Filename: ./demo-tool.deb"
  echo "Size: $(stat --format %s /srv/www/apt/demo-tool.deb)"
  echo "SHA256: $(sha256sum /srv/www/apt/demo-tool.deb | cut -d' ' -f1)"
} > /srv/www/apt/Packages

rm -rf /tmp/work /tmp/deb /root/.gitconfig
