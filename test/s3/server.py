"""An S3 server for tests: OpenStack Swift with its S3 API, in one process. It checks signatures, hashes and expiry.

Usage: server.py FOLDER ACCESS_KEY SECRET. The access key has the form ACCOUNT:USER. Prints the port when it is ready, and
ends when its input ends.
"""

import os
import sys

import eventlet

eventlet.monkey_patch()

from array import array  # noqa: E402

import eventlet.wsgi  # noqa: E402
import swift.common.utils  # noqa: E402
from swift.common.ring import RingData  # noqa: E402
from swift.common.wsgi import SwiftHttpProtocol, loadapp  # noqa: E402

FOLDER, ACCESS_KEY, SECRET = sys.argv[1:]
BACKENDS = ('account', 'container', 'object')

COMMON = f"""[DEFAULT]
swift_dir = {FOLDER}
devices = {FOLDER}/devices
mount_check = false
fallocate_reserve = 0
"""
PROXY = f"""
[pipeline:main]
pipeline = catch_errors gatekeeper listing_formats bulk s3api tempauth proxy-server
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:gatekeeper]
use = egg:swift#gatekeeper
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:bulk]
use = egg:swift#bulk
[filter:s3api]
use = egg:swift#s3api
allow_multipart_uploads = false
[filter:tempauth]
use = egg:swift#tempauth
user_{ACCESS_KEY.replace(':', '_')} = {SECRET} .admin
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
"""


class Cache:
    """In place of memcached, which Swift requires."""

    def __init__(self):
        self.items = {}

    def get(self, key, **_):
        return self.items.get(key)

    def set(self, key, value, **_):
        self.items[key] = value

    def delete(self, key, **_):
        self.items.pop(key, None)


def write(name, text):
    path = os.path.join(FOLDER, name)
    with open(path, 'w') as file:
        file.write(text)
    return path


def listen():
    listener = eventlet.listen(('127.0.0.1', 0))
    return listener, listener.getsockname()[1]


def save_ring(name, port):
    """Puts every partition on the one device, which the server on this port serves."""
    address = {'ip': '127.0.0.1', 'port': port, 'replication_ip': '127.0.0.1', 'replication_port': port}
    device = {'id': 0, 'region': 1, 'zone': 1, 'weight': 1, 'device': 'disk', 'meta': '', **address}
    RingData([array('H', [0, 0])], [device], 31).save(os.path.join(FOLDER, f'{name}.ring.gz'))


def serve(listener, name, conf):
    loaded = loadapp(write(f'{name}.conf', COMMON + conf))
    cache = Cache()

    def app(env, start_response):
        env['swift.cache'] = cache
        return loaded(env, start_response)

    log = swift.common.utils.NullLogger()
    eventlet.spawn(eventlet.wsgi.server, listener, app, log, protocol=SwiftHttpProtocol, log_output=False)


def main():
    os.makedirs(os.path.join(FOLDER, 'devices', 'disk'))
    swift.common.utils.SWIFT_CONF_FILE = write('swift.conf', '[swift-hash]\nswift_hash_path_suffix = test\n')
    swift.common.utils.validate_hash_conf()
    listeners = {}
    # All rings must exist before a server is loaded.
    for name in BACKENDS:
        listeners[name], port = listen()
        save_ring(name, port)
    for name in BACKENDS:
        serve(listeners[name], name, f'[app:main]\nuse = egg:swift#{name}\n')
    listener, port = listen()
    serve(listener, 'proxy', PROXY)
    print(port, flush=True)
    eventlet.hubs.trampoline(0, read=True)


main()
